"""Registry of the assessments known to this installation."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from certify.assessment.assessment import Assessment
from certify.assessment.not_installed import NotInstalled
from certify.core.errors import CertificateError, UsageError
from certify.core.registry import Registry

ASSESSMENTS = Registry(
    "assessment",
    "leanmark.assessments",
    {
        "efficiency": "certify.assessments.efficiency.assessment:Efficiency",
        "data_use": "certify.assessments.data_use.assessment:DataUse",
        "declarations": "certify.assessments.declarations.assessment:Declarations",
        "federation": "certify.assessments.federation.assessment:Federation",
        "privacy": "certify.assessments.privacy.assessment:Privacy",
        "privacy_audit": "certify.assessments.privacy_audit.assessment:PrivacyAudit",
        "robustness": "certify.assessments.robustness.assessment:Robustness",
        "scorecard": "certify.scorecard.assessment:Scorecard",
        "social": "certify.assessments.social.assessment:Social",
    },
    protocol=Assessment,
)
"""Assessments by name; a statement names its own by the predicate type."""


@functools.cache
def _surveyed() -> tuple[Mapping[str, Assessment], Mapping[str, str]]:
    return ASSESSMENTS.survey(_instance)


def _instance(name: str) -> Assessment:
    assessment: Assessment = ASSESSMENTS.make(name)
    ASSESSMENTS.check_name(name, assessment.name)
    if assessment.sealed and name not in ASSESSMENTS.own:
        raise UsageError(
            f"The assessment {name} seals its statement, but a model file has room for only one seal, that of the "
            "built-in assessment. Set 'sealed' to False: the statement is then stored next to the model."
        )
    return assessment


def assessments() -> Mapping[str, Assessment]:
    """Return all usable assessments by name, built-in ones first.

    Example:
        >>> list(assessments())[0]
        'efficiency'
    """
    return _surveyed()[0]


def sealed_assessment() -> Assessment:
    """Return the only assessment whose statement is sealed into a model file.

    Example:
        >>> sealed_assessment().name
        'efficiency'
    """
    (found,) = (assessment for assessment in assessments().values() if assessment.sealed)
    return found


def assessment_of(predicate_type: object, may_be_unknown: bool = False) -> Assessment:
    """Return the assessment of a predicate type, or a placeholder if it may be unknown.

    Raises:
        CertificateError: no usable assessment has this type.
    """
    usable, unusable = _surveyed()
    for assessment in usable.values():
        if isinstance(predicate_type, str) and predicate_type in assessment.versions:
            return assessment
    known = ", ".join(kind for assessment in usable.values() for kind in assessment.versions)
    broken = "".join(f" {why}" for why in unusable.values())
    why = (
        f"The statement is of unknown type {str(predicate_type)[:200]!r}; known are {known}. Update leanmark, or "
        f"install the package of its assessment.{broken}"
    )
    if may_be_unknown and isinstance(predicate_type, str):
        return NotInstalled(predicate_type, why)  # type: ignore[abstract]  # nothing else is asked of it
    raise CertificateError(why)
