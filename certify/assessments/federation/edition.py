"""Editions of the federation statement: dated constants from the package's YAML files, never edited after release."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from certify.assessment.editions import read_edition

NEWEST = "2026"


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each."""

    name: str
    date: str
    least_clients: Annotated[int, Ge(1)]
    least_private_clients: Annotated[int, Ge(1)]
    may_be_unknown: tuple[str, ...]


@dataclass(frozen=True)
class FederationEdition(_Constants):
    """Constants of an edition.

    Attributes:
        digest: hex SHA-256 of the edition's file.

    Example:
        >>> load_edition().least_private_clients
        100
    """

    digest: str


@functools.cache
def load_edition(name: str = NEWEST) -> FederationEdition:
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors."""
    constants, digest = read_edition("certify.assessments.federation", name, _Constants)
    return FederationEdition(**vars(constants), digest=digest)
