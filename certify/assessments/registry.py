"""The rooms: every assessment that this installation knows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from certify.core.errors import CertificateError
from certify.core.registry import provided

if TYPE_CHECKING:
    from certify.assessments.assessment import Assessment


@functools.cache
def assessments() -> Mapping[str, Assessment]:
    """All assessments by name, the built-in ones first; further ones come from the entry points
    ``leanmark.assessments``.

    Example:
        >>> list(assessments())[0]
        'efficiency'
    """
    found: dict[str, Assessment] = {}
    for load in provided("assessments"):
        assessment: Assessment = load()
        found.setdefault(assessment.name, assessment)
    return found


def assessment_of(predicate_type: object) -> Assessment:
    """The assessment that a type of predicate belongs to.

    Raises:
        CertificateError: none that is installed knows it.
    """
    for assessment in assessments().values():
        if predicate_type in assessment.versions:
            return assessment
    known = ", ".join(kind for assessment in assessments().values() for kind in assessment.versions)
    raise CertificateError(
        f"The statement is of type {str(predicate_type)[:200]!r}; known are {known}. A newer leanmark may know it."
    )
