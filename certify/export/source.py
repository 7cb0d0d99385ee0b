"""A signed statement that remembers which of its fields were written into an export."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from certify.core.estimate import EvidenceLevel

Path = tuple[str, ...]

UNMETERED = (EvidenceLevel.MODELLED.value, EvidenceLevel.PROXY.value)
_PREDICATE = "predicate"
_SUBJECT = ("subject", "0")
_PLACE = re.compile(r"\.\d+(?=\.|$)")
_ESTIMATE = re.compile(r"(?<=^predicate\.profile\.estimates\.)[^.]+")


class Source:
    """What an export is written from.

    Args:
        statement: the signed in-toto statement, as its schema says.
        digest: hex SHA-256 of the certificate.
        envelope: bytes of the certificate.
        lineage: content of the lineage that the statement binds; None where it is not at hand.
    """

    def __init__(
        self, statement: Mapping[str, Any], digest: str, envelope: bytes, lineage: Mapping[str, Any] | None = None
    ) -> None:
        self.digest = digest
        self.envelope = envelope
        self.lineage = lineage
        self._statement = statement
        self._held: set[Path] = set()

    def take(self, *path: str) -> Any:
        """A field of the predicate that goes into the document as it is; None where there is none.

        Everything below the field counts as held by the format. What only decides how something is written is asked
        for with :meth:`look`.
        """
        return self._take((_PREDICATE, *path))

    def look(self, *path: str) -> Any:
        """A field of the predicate that does not go into the document itself."""
        return _at(self._statement, (_PREDICATE, *path))

    def file_digest(self) -> str:
        """SHA-256 of the model's file."""
        return str(self._take((*_SUBJECT, "digest", "sha256")))

    def content_digest(self) -> str | None:
        """Digest of what an ONNX model says, however it is laid out; None for a file of another kind."""
        digest: str | None = self._take((*_SUBJECT, "digest", "leanmarkContent"))
        return digest

    def subject_name(self) -> str:
        """File name of the model."""
        return str(self._take((*_SUBJECT, "name")))

    def estimates(self) -> tuple[str, ...]:
        """Names of the estimates."""
        return tuple(self.look("profile", "estimates"))

    def guards(self) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Each guard with its path."""
        for place, guard in enumerate(self.look("profile", "guards")):
            yield ("profile", "guards", str(place)), guard

    @property
    def unmetered(self) -> bool:
        """Whether the energy comes from a model or a stand-in and not from a meter."""
        return self.look("meter", "level") in UNMETERED

    def left_out(self) -> tuple[str, ...]:
        """Dotted paths of all fields that hold something and that nobody took, in the order of the statement."""
        return tuple(".".join(path) for path in self.filled() if path not in self._held)

    def held(self) -> tuple[Path, ...]:
        """Paths of all fields that were taken."""
        return tuple(path for path in self.filled() if path in self._held)

    def filled(self) -> Iterator[Path]:
        """Paths of all fields but null and empty ones, which any format holds by leaving them out."""
        return (path for path in _leaves(self._statement, ()) if _at(self._statement, path) not in (None, [], {}, ""))

    def _take(self, path: Path) -> Any:
        value = _at(self._statement, path)
        self._held.update(_leaves(value, path))
        return value


def pattern(path: str) -> str:
    """A dotted path with a star for the name of an estimate and for each place in a list."""
    return _PLACE.sub(".*", _ESTIMATE.sub("*", path))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list):
            value = value[int(key)]
        else:
            return None
    return value


def _leaves(value: Any, path: Path) -> Iterator[Path]:
    """Paths of all values that are no containers, and of empty containers."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, str(place)))
    else:
        yield path
