"""Editions of the privacy audit: dated constants in YAML files of this package, never edited after release."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt, MinLen

from certify.assessment.editions import read_edition

Share = Annotated[float, Gt(0), Lt(1)]
Positive = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each of them."""

    name: str
    date: str
    confidence: Share
    false_alarm_rates: Annotated[tuple[Share, ...], MinLen(1)]
    fewest_alarms: Positive
    fewest_shadows: Annotated[int, Ge(2)]
    claim_tolerance: Annotated[float, Gt(0)]
    may_be_unknown: tuple[str, ...]
    may_wait_for_auditor: tuple[str, ...]


@dataclass(frozen=True)
class Edition(_Constants):
    """All constants of an edition.

    Attributes:
        digest: hex SHA-256 of the edition's file.

    Example:
        >>> load_edition().fewest_alarms
        10
    """

    digest: str


@functools.cache
def load_edition(name: str = "2026") -> Edition:
    """Load an edition by name; :func:`certify.assessment.editions.read_edition` lists the errors."""
    constants, digest = read_edition("certify.assessments.privacy_audit", name, _Constants)
    return Edition(**vars(constants), digest=digest)
