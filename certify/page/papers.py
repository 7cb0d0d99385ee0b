"""What a report is drawn from: the certificate, and of its papers those that it binds by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.attest.certificate import EVIDENCE_NAME, LINEAGE_NAME, Certificate
from certify.attest.verification import Signature
from certify.core.errors import CertificateError, NotDerivedError
from certify.core.evidence import Evidence
from certify.core.evidence_file import parse_evidence
from certify.core.schema import validate


@dataclass(frozen=True)
class Papers:
    """A certificate with its papers.

    Attributes:
        certificate: the certificate.
        evidence: what its figures follow from.
        lineage: None where it does not lie beside the model, or the certificate names none.
        signatures: whose signatures are good, the maker's first; whom of them to trust is the reader's own affair.
    """

    certificate: Certificate
    evidence: Evidence
    lineage: Mapping[str, Any] | None
    signatures: tuple[Signature, ...] = ()


def read_papers(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
) -> Papers:
    """Verify a certified model and read the papers beside it.

    Args:
        path: the model's file.
        certificate: as :func:`certify.verify` takes it.
        evidence: likewise.

    Raises:
        UsageError: a file that was named does not exist.
        CertificateError: there is no certificate, or something about it is not valid.
        NotDerivedError: there is no evidence that it follows from.
    """
    from certify.attest.verify import require_derived

    path = Path(path)
    found, verification = require_derived(path, certificate, evidence)
    folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
    places = [Path(evidence)] if evidence is not None else [folder / EVIDENCE_NAME for folder in folders]
    records = _bound(places, found.predicate["evidence"])
    if records is None:
        raise NotDerivedError(f"{path}: its evidence went away while it was read.")
    lineage = _bound([folder / LINEAGE_NAME for folder in folders], found.predicate["lineage"])
    return Papers(
        found,
        parse_evidence(records),
        None if lineage is None else _lineage(lineage),
        verification.signatures,
    )


def _bound(places: Iterable[Path], stated: Mapping[str, Any] | None) -> bytes | None:
    """The bytes of the first file that is there; None where there is none, or none is named in the certificate.

    Raises:
        CertificateError: the file is not the one that was signed.
    """
    path = next((place for place in places if place.is_file()), None)
    if path is None or stated is None:
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != stated["sha256"]:
        raise CertificateError(f"{path} is not the file that was signed.")
    return content


def _lineage(content: bytes) -> Mapping[str, Any]:
    try:
        lineage: Mapping[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"The lineage is no JSON: {error}.") from error
    validate(lineage, "lineage-1")
    return lineage
