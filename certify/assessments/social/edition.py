"""Editions of the social assessment: dated constants from the package's YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from certify.assessment.editions import read_edition

NEWEST = "2026"
Positive = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each."""

    name: str
    date: str
    confidence: Annotated[float, Gt(0), Lt(1)]
    margin_points: Annotated[float, Gt(0)]
    least_cell: Positive
    least_labels: Positive
    least_covered: Annotated[float, Ge(0)]
    most_cells: Positive
    calibration_bins: Positive
    margin_parts: Positive


@dataclass(frozen=True)
class SocialEdition(_Constants):
    """Constants of an edition.

    Attributes:
        digest: hex SHA-256 of the edition's file.

    Example:
        >>> load_edition().margin_points
        2.0
    """

    digest: str

    @property
    def margin(self) -> float:
        """Largest loss of a cell that is shown no worse, as a share.

        Example:
            >>> load_edition().margin
            0.02
        """
        return self.margin_points / 100


def load_edition(name: str = NEWEST) -> SocialEdition:
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors."""
    constants, digest = read_edition("certify.assessments.social", name, _Constants)
    return SocialEdition(**vars(constants), digest=digest)
