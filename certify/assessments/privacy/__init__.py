"""Privacy as an assessment: differential privacy of a model, derived from a ledger of everything that read the data.

:mod:`~certify.assessments.privacy.records` defines the records and how a maker writes them. The claim covers the whole
lineage: a single raw read of a private split refuses it.
"""
