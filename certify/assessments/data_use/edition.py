"""Editions of the data-use statement: dated constants from the package's YAML files, never edited after release."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from certify.assessment.editions import read_edition


@dataclass(frozen=True)
class _Constants:
    """Constants in the file, which explains each."""

    name: str
    date: str
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
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors."""
    constants, digest = read_edition("certify.assessments.data_use", name, _Constants)
    return Edition(**vars(constants), digest=digest)
