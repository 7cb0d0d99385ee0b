"""What an export is written from, and which fields of the signed statement a format does not hold."""

from __future__ import annotations

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
_PLACE = re.compile(r"\.\d+(?=\.|$)")
_ESTIMATE = re.compile(r"(?<=^predicate\.profile\.estimates\.)[^.]+")


@dataclass(frozen=True)
class Signer:
    """Somebody besides the maker who signed what they found about the certificate.

    Attributes:
        key_id: of their key, or sigstore's identity.
        name: under which the reader knows them; None for a stranger.
        vouches_for: ``cross-checked`` or ``reproduced``.
        agrees: whether they found what the certificate says.
    """

    key_id: str
    name: str | None
    vouches_for: str
    agrees: bool


@dataclass(frozen=True)
class Further:
    """A statement of another assessment about the same model.

    Attributes:
        claims: what it says.
        envelope: its bytes.
    """

    claims: Claims
    envelope: bytes

    @property
    def name(self) -> str:
        """Name of its file beside the model."""
        return f"statements/{self.claims.assessment}.json"

    @property
    def files(self) -> dict[str, str]:
        """Digests of the statement and of its records, by their names beside the model."""
        names = (self.name, self.name.replace(".json", ".evidence.jsonl"))
        return dict(zip(names, (self.claims.digest, self.claims.evidence_digest), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Everything that may be printed of it, as JSON values."""
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
    """A certificate to be exported.

    Attributes:
        claims: what it says.
        subject: file name of the model.
        file_digest: hex SHA-256 of the model's file, without its seal.
        content_digest: digest of what the model says, however it is laid out.
        envelope: bytes of the certificate.
        lineage: content of the lineage that it binds; None where it is not at hand.
        others: further statements about the model.
        signers: who besides the maker signed what they found.
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
        """Digests of the certificate and of its evidence, by their names beside the model."""
        if not isinstance(self.claims, EfficiencyClaims):
            return Further(self.claims, self.envelope).files
        names = ("certificate.json", "evidence.jsonl")
        return dict(zip(names, (self.claims.digest, self.claims.evidence_digest), strict=True))

    @property
    def measured(self) -> EfficiencyClaims:
        """The claims of an efficiency certificate, for a format that has no place for other statements.

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
        """Read a certificate.

        Args:
            certificate: of efficiency, or the statement that stands for the whole.
            lineage: content of the lineage that the statement binds.
            others: further statements about the same model.
            signers: who besides the maker signed what they found.

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
