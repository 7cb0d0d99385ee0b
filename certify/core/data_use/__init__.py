"""What data may be used for: policies, consent, decisions, and the journal of them.

The loaders of :mod:`certify.data` ask here before they yield a record; the assessment ``data_use`` derives from the
journal, without the data, that every use was permitted.
"""
