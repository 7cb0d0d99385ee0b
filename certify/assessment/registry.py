"""The rooms: every assessment that this installation knows."""

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
"""Assessments by name; a statement names its own by the type of its predicate."""


@functools.cache
def _surveyed() -> tuple[Mapping[str, Assessment], Mapping[str, str]]:
    return ASSESSMENTS.survey(_made)


def _made(name: str) -> Assessment:
    made: Assessment = ASSESSMENTS.make(name)
    ASSESSMENTS.check_name(name, made.name)
    if made.sealed and name not in ASSESSMENTS.own:
        raise UsageError(
            f"The assessment {name} seals its statement, but a model's file has room for one, which is that of "
            "leanmark's own assessment. Set 'sealed' to False: the statement then lies beside the model."
        )
    return made


def assessments() -> Mapping[str, Assessment]:
    """All assessments that can be used, by name, leanmark's own first.

    Example:
        >>> list(assessments())[0]
        'efficiency'
    """
    return _surveyed()[0]


def sealed_assessment() -> Assessment:
    """The assessment whose statement is sealed into a model's file; there is one."""
    (found,) = (one for one in assessments().values() if one.sealed)
    return found


def assessment_of(predicate_type: object, may_be_unknown: bool = False) -> Assessment:
    """The assessment that a type of predicate belongs to, or one that stands for it where it may be unknown.

    Raises:
        CertificateError: none that can be used here knows it.
    """
    usable, unusable = _surveyed()
    for assessment in usable.values():
        if isinstance(predicate_type, str) and predicate_type in assessment.versions:
            return assessment
    known = ", ".join(kind for assessment in usable.values() for kind in assessment.versions)
    broken = "".join(f" {why}" for why in unusable.values())
    why = (
        f"The statement is of type {str(predicate_type)[:200]!r}; known are {known}. A newer leanmark, or the package "
        f"of its assessment, may know it.{broken}"
    )
    if may_be_unknown and isinstance(predicate_type, str):
        return NotInstalled(predicate_type, why)  # type: ignore[abstract]  # nothing else is asked of it
    raise CertificateError(why)
