"""Source of an export, and the fields of the signed statement that a format does not contain."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.present.statements import measured_claims

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

Path = tuple[str, ...]

_PREDICATE = "predicate"
# A list position inside a dotted path.
_PLACE = re.compile(r"\.\d+(?=\.|$)")
# Names of estimates are free text per assessment, so the summary groups them.
_ESTIMATE = re.compile(r"(?<=^predicate\.profile\.estimates\.)[^.]+")


@dataclass(frozen=True)
class Signer:
    """Third party that signed a verdict on the certificate.

    Attributes:
        key_id: id of its key, or sigstore's identity.
        name: the reader's name for it; None if unknown.
        vouches_for: ``cross-checked`` or ``reproduced``.
        agrees: whether it agrees with the certificate.
    """

    key_id: str
    name: str | None
    vouches_for: str
    agrees: bool


@dataclass(frozen=True)
class Further:
    """Statement of another assessment about the same model.

    Attributes:
        claims: its claims.
        envelope: bytes of its envelope.
    """

    claims: Claims
    envelope: bytes

    @property
    def name(self) -> str:
        """Name of its file next to the model."""
        return f"statements/{self.claims.assessment}.json"

    @property
    def files(self) -> dict[str, str]:
        """Digests of the statement and of its records, by their file names."""
        names = (self.name, self.name.replace(".json", ".evidence.jsonl"))
        return dict(zip(names, (self.claims.digest, self.claims.evidence_digest), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return all its printable claims as JSON values."""
        claims = self.claims
        return {
            "assessment": claims.assessment,
            "outcome": claims.text,
            "reasons": list(claims.reasons),
            "notes": list(claims.notes),
            "limits": list(claims.limits),
            "edition": claims.edition.name,
            "sha256": claims.digest,
            "figures": {name: estimate.to_json() for name, estimate in claims.figures.items()},
            "findings": [finding.to_json() for finding in claims.findings],
        }


@dataclass(frozen=True)
class ExportSource:
    """Certificate to export.

    Attributes:
        claims: its claims.
        subject: file name of the model.
        file_digest: hex SHA-256 of the model file without its seal.
        content_digest: digest of the model's content, independent of its serialisation.
        envelope: bytes of the certificate.
        lineage: content of the lineage that it binds; None if not available.
        others: further statements about the model.
        signers: third parties that signed a verdict on it.
    """

    claims: Claims
    subject: str
    file_digest: str
    content_digest: str
    envelope: bytes
    lineage: Mapping[str, Any] | None = None
    others: tuple[Further, ...] = ()
    signers: tuple[Signer, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """Digests of the certificate and of its evidence, by their file names."""
        if not isinstance(self.claims, EfficiencyClaims):
            return Further(self.claims, self.envelope).files
        names = ("certificate.json", "evidence.jsonl")
        return dict(zip(names, (self.claims.digest, self.claims.evidence_digest), strict=True))

    @property
    def every(self) -> tuple[Claims, ...]:
        """Claims of all statements, its own first."""
        return (self.claims, *(other.claims for other in self.others))

    @property
    def measured(self) -> EfficiencyClaims:
        """Claims of an efficiency certificate, for formats that cannot represent other statements.

        Raises:
            CertificateError: it is a statement of another assessment.
        """
        return measured_claims(self.claims)

    @classmethod
    def of(
        cls,
        certificate: Certificate,
        lineage: Mapping[str, Any] | None = None,
        others: Sequence[Certificate] = (),
        signers: Sequence[Signer] = (),
    ) -> ExportSource:
        """Build the source from a certificate.

        Args:
            certificate: efficiency certificate, or the statement shown instead.
            lineage: content of the lineage that the statement binds.
            others: further statements about the same model.
            signers: third parties that signed a verdict on it.

        Raises:
            CertificateError: a claim is missing or malformed.
        """
        digests = certificate.subject_digest
        return cls(
            certificate.claims,
            certificate.subject_name,
            digests["sha256"],
            digests["leanmarkContent"],
            certificate.content,
            lineage,
            tuple(Further(other.claims, other.content) for other in others),
            tuple(signers),
        )


def filled(statement: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the paths of all fields except null and empty ones, which every format represents by omission."""
    # Null and empty mean the same in every format as leaving the field out.
    return (path for path, value in _leaves(statement, ()) if value not in (None, [], {}, ""))


def is_included(path: Path, patterns: Iterable[str]) -> bool:
    """Return whether a format contains a field.

    Args:
        path: path of the field in the statement.
        patterns: dotted paths of the format's fields, those of the predicate without its name. A star matches any
            single name, and a pattern covers everything below it.
    """
    # Patterns omit the prefix that nearly all of them would share.
    names = path[1:] if path[0] == _PREDICATE else path
    return _covers(_tree(tuple(patterns)), names)


_END = ""
"""Key of a tree of patterns where one ends; no pattern has an empty name."""


@functools.cache
def _tree(patterns: tuple[str, ...]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for pattern in patterns:
        place = root
        for step in pattern.split("."):
            place = place.setdefault(step, {})
        place[_END] = {}
    return root


def _covers(tree: Mapping[str, Any], names: Path) -> bool:
    # A pattern also covers everything below it.
    if _END in tree or not names:
        return _END in tree
    return any(_covers(tree[step], names[1:]) for step in {names[0], "*"} - {_END} if step in tree)


def pattern(path: str) -> str:
    """Return a dotted path with a star for the name of an estimate and for each list position.

    Example:
        >>> pattern("predicate.profile.estimates.energy_ratio.value")
        'predicate.profile.estimates.*.value'
    """
    return _PLACE.sub(".*", _ESTIMATE.sub("*", path))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield all non-container values, and empty containers, each with its path."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, str(place)))
    else:
        yield path, value
