"""What an export is written from, and which fields of the signed statement a format does not hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certify.present.claims import Claims, efficiency_claims

Path = tuple[str, ...]

_PREDICATE = "predicate"
_PLACE = re.compile(r"\.\d+(?=\.|$)")
_ESTIMATE = re.compile(r"(?<=^predicate\.profile\.estimates\.)[^.]+")


@dataclass(frozen=True)
class ExportSource:
    """A certificate to be exported.

    Attributes:
        claims: what it says.
        subject: file name of the model.
        file_digest: hex SHA-256 of the model's file, without its seal.
        content_digest: digest of what the model says, however it is laid out.
        envelope: bytes of the certificate.
        lineage: content of the lineage that it binds; None where it is not at hand.
    """

    claims: Claims
    subject: str
    file_digest: str
    content_digest: str
    envelope: bytes
    lineage: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, statement: Mapping[str, Any], digest: str, envelope: bytes, lineage: Mapping[str, Any] | None = None
    ) -> ExportSource:
        """Read a signed statement.

        Args:
            statement: as its schema says.
            digest: hex SHA-256 of the certificate.
            envelope: bytes of the certificate.
            lineage: content of the lineage that the statement binds.

        Raises:
            CertificateError: a claim is missing or malformed.
        """
        subject = statement["subject"][0]
        digests = subject["digest"]
        claims = efficiency_claims(statement[_PREDICATE], digest)
        return cls(claims, subject["name"], digests["sha256"], digests["leanmarkContent"], envelope, lineage)


def filled(statement: Mapping[str, Any]) -> Iterator[Path]:
    """Paths of all fields except null and empty ones, which every format holds by leaving them out."""
    return (path for path, value in _leaves(statement, ()) if value not in (None, [], {}, ""))


def is_held(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a format holds a field.

    Args:
        path: of the field in the statement.
        patterns: dotted paths of what the format holds, those of the predicate without its name. A star stands for any
            one name, and a pattern covers everything below it.
    """
    names = path[1:] if path[0] == _PREDICATE else path
    return any(_covers(tuple(one.split(".")), names) for one in patterns)


def _covers(pattern: Path, names: Path) -> bool:
    return len(pattern) <= len(names) and all(one in ("*", name) for one, name in zip(pattern, names, strict=False))


def pattern(path: str) -> str:
    """A dotted path with a star for the name of an estimate and for each place in a list."""
    return _PLACE.sub(".*", _ESTIMATE.sub("*", path))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """All values that are not containers, and empty containers, each with its path."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, str(place)))
    else:
        yield path, value
