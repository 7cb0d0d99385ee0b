"""Editions of the robustness assessment: dated constants from the package's YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen

from certify.assessment.editions import read_edition

NEWEST = "2026"
Positive = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each."""

    name: str
    date: str
    confidence: Annotated[float, Gt(0), Lt(1)]
    margin_points: Annotated[float, Gt(0)]
    corruption_set: str
    corruptions: Annotated[tuple[str, ...], MinLen(1)]
    most_samples: Positive
    broken_eps: Positive
    most_standing: Share
    least_held: Share
    most_copied: Share


@dataclass(frozen=True)
class RobustnessEdition(_Constants):
    """Constants of an edition.

    Attributes:
        digest: hex SHA-256 of the edition's file.

    Example:
        >>> load_edition().most_samples
        500
    """

    digest: str


def load_edition(name: str = NEWEST) -> RobustnessEdition:
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors."""
    constants, digest = read_edition("certify.assessments.robustness", name, _Constants)
    return RobustnessEdition(**vars(constants), digest=digest)
