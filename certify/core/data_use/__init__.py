"""Permitted uses of data: policies, consent, decisions, and their journal.

The loaders of :mod:`certify.data` ask here before they yield a record; the assessment ``data_use`` verifies from the
journal, without the data, that every use was permitted.
"""
