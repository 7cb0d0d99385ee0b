"""Editions of the privacy statement: dated constants from the package's YAML files, never edited after release."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from certify.assessment.editions import read_edition

Amount = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each."""

    name: str
    date: str
    weak_epsilon: Amount
    rate_tolerance: Amount
    claim_tolerance: Amount
    gradient_tolerance: Amount
    fewest_clients: Annotated[int, Ge(1)]
    class_loss_points: Amount
    may_be_unknown: tuple[str, ...]
    may_wait_for_auditor: tuple[str, ...]


@dataclass(frozen=True)
class Edition(_Constants):
    """Constants of an edition.

    Attributes:
        digest: hex SHA-256 of the edition's file.
    """

    digest: str


@functools.cache
def load_edition(name: str = "2026") -> Edition:
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors.

    Example:
        >>> load_edition().fewest_clients
        100
    """
    constants, digest = read_edition("certify.assessments.privacy", name, _Constants)
    return Edition(**vars(constants), digest=digest)
