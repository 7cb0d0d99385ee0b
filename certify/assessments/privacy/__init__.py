"""Privacy as an assessment: differential privacy of a model, derived from a ledger of everything that touched the data.

:mod:`~certify.assessments.privacy.records` says what is recorded and how a maker writes it. The claim is a property of
the whole lineage: one raw touch of a private part, and it is refused.
"""
