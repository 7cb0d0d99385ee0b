"""Use-based privacy as an assessment: a model's data were used as their policy and the people in them permit.

:mod:`~certify.assessments.data_use.records` defines the records; the loaders write them (:mod:`certify.core.data_use`).
"""
