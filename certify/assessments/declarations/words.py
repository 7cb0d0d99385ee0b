"""Words about people and faces in names of data, classes and columns; a hit raises a question and proves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from certify.assessments.declarations.edition import DeclarationsEdition
from certify.assessments.declarations.records import Named, Records

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LETTERS = re.compile(r"[^\W\d_]+")
WHERE = {"data": "name of the data", "class": "class", "column": "column"}


@dataclass(frozen=True)
class Hit:
    """Word found in a name.

    Attributes:
        what: ``data``, ``class`` or ``column``.
        name: name that contains the word.
        word: the word; for a group column without one, its name.
        faces: whether the word is also about faces.
    """

    what: str
    name: str
    word: str
    faces: bool

    @property
    def sentence(self) -> str:
        """Place of the word."""
        return f"the {WHERE[self.what]} '{self.name}'"


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without a plural s.

    Example:
        >>> words_of("YoungAdults_2, no-beard")
        ('young', 'adult', 'no', 'beard')
    """
    found = _LETTERS.findall(_CAMEL.sub(" ", name))
    return tuple(_singular(word.lower()) for word in found)


def _singular(word: str) -> str:
    # Short words and words ending in "ss" are not plurals.
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "eyeglasses")) else word


def hits(records: Records, edition: DeclarationsEdition) -> tuple[Hit, ...]:
    """Return every name in the data that contains a word about people, once each, faces first."""
    found = [*_in_data(records.header.data.name, edition)]
    for row in records.of(Named):
        for name in row.names:
            found += _in_name(row, name, edition)
    # Hits about faces come first, because they require answers to the clauses.
    return tuple(sorted(dict.fromkeys(found), key=lambda hit: (not hit.faces, hit.what)))


def _in_data(name: str, edition: DeclarationsEdition) -> Iterator[Hit]:
    lowered = name.lower()
    for known in (*edition.face_data, *edition.people_data):
        if re.search(rf"(?<![a-z0-9]){re.escape(known)}(?![a-z])", lowered):
            yield Hit("data", name, known, known in edition.face_data)
            return


def _in_name(row: Named, name: str, edition: DeclarationsEdition) -> Iterator[Hit]:
    words = words_of(name)
    for word in words:
        if word in edition.face_words:
            yield Hit(row.what, name, word, True)
            return
    for word in words:
        if word in edition.people_words:
            yield Hit(row.what, name, word, False)
            return
    if row.what == "column":  # group columns are about people, whatever their name
        yield Hit(row.what, name, name, False)
