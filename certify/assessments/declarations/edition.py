"""Editions of the declarations: the words that raise questions, from the package's YAML files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, MinLen

from certify.assessment.editions import read_edition

NEWEST = "2026"
Words = Annotated[tuple[str, ...], MinLen(1)]


@dataclass(frozen=True)
class _Constants:
    """Content of the file, which also explains each constant."""

    name: str
    date: str
    people_words: Words
    face_words: Words
    people_data: Words
    face_data: Words
    least_counted: Annotated[int, Ge(1)]


@dataclass(frozen=True)
class DeclarationsEdition(_Constants):
    """Constants of an edition.

    Attributes:
        digest: hex SHA-256 of the bytes of the edition's file.

    Example:
        >>> "celeba" in load_edition().face_data
        True
    """

    digest: str


def load_edition(name: str = NEWEST) -> DeclarationsEdition:
    """Load an edition by name; see :func:`certify.assessment.editions.read_edition` for the errors."""
    constants, digest = read_edition("certify.assessments.declarations", name, _Constants)
    return DeclarationsEdition(**vars(constants), digest=digest)
