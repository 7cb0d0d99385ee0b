"""Use-based privacy as an assessment: that a model's data were used as their policy and the people in them permit.

:mod:`~certify.assessments.data_use.records` says what is recorded; the loaders write it (:mod:`certify.core.data_use`).
"""
