"""Sidecar files of a report: the certificate, and the files that it binds by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.certificate import EVIDENCE_NAME, LINEAGE_NAME, Certificate
from certify.attest.verification import Signature
from certify.attest.verify import require_derived
from certify.core.errors import CertificateError, NotDerivedError, UsageError
from certify.core.evidence import Evidence
from certify.core.evidence_file import parse_evidence
from certify.core.schema import validate
from certify.present.machines import why_not_one_job


@dataclass(frozen=True)
class Sidecars:
    """Certificate with its sidecar files.

    Attributes:
        certificate: the certificate.
        evidence: evidence of an efficiency certificate; None for another statement.
        lineage: None if it is missing, or if the certificate does not name one.
        signatures: valid signatures, the maker's first; the reader decides which to trust.
        others: further statements about the model.
        beside: certificates of the model from other machines.
    """

    certificate: Certificate
    evidence: Evidence | None
    lineage: Mapping[str, Any] | None
    signatures: tuple[Signature, ...] = ()
    others: tuple[Certificate, ...] = ()
    beside: tuple[Certificate, ...] = ()


def read_sidecars(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    beside: Iterable[str | Path] = (),
) -> Sidecars:
    """Verify a certified model and read its sidecar files.

    Args:
        path: path of the model file.
        certificate: as in :func:`certify.verify`.
        evidence: likewise.
        beside: the same model as certified on other machines, with its own sidecar files.

    Raises:
        UsageError: a named file does not exist, or one in ``beside`` is another model or another job.
        CertificateError: there is no certificate, or it is not valid.
        NotDerivedError: there is no evidence from which it follows.
    """
    path = Path(path)
    # A page would make a file that does not verify look certified.
    verified, verification = require_derived(path, certificate, evidence)
    claims, elsewhere = verified.claims, tuple(_elsewhere(Path(file), verified) for file in beside)
    if not isinstance(claims, EfficiencyClaims):
        return Sidecars(verified, None, None, verification.signatures, verification.certificates[1:])
    folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
    candidates = [Path(evidence)] if evidence is not None else [folder / EVIDENCE_NAME for folder in folders]
    records = _bound(candidates, claims.evidence_digest)
    if records is None:
        # The verification has just read the evidence, so it existed.
        raise NotDerivedError(f"{path}: the evidence disappeared while it was read; restore it and try again.")
    lineage = _bound([folder / LINEAGE_NAME for folder in folders], claims.lineage_digest)
    return Sidecars(
        verified,
        parse_evidence(records),
        None if lineage is None else _lineage(lineage),
        verification.signatures,
        verification.certificates[1:],
        elsewhere,
    )


def _elsewhere(path: Path, own: Certificate) -> Certificate:
    """Return a verified certificate of the same model from another machine."""
    other, _ = require_derived(path)
    # Compared by content digest, because the same model sealed on another machine has other bytes.
    is_same = other.subject_digest.get("leanmarkContent") == own.subject_digest.get("leanmarkContent")
    reasons = why_not_one_job(own.claims, other.claims) if is_same else ["different models"]
    if reasons:
        raise UsageError(f"{path} cannot be shown next to the reported file: {', '.join(reasons)}.")
    return other


def _bound(candidates: Iterable[Path], digest: str | None) -> bytes | None:
    """Return the bytes of the first file that exists; None if none does, or if the certificate does not name one.

    Raises:
        CertificateError: the file is not the signed one.
    """
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None or digest is None:
        return None
    content = path.read_bytes()
    # Checked again, because the file may have changed after verification.
    if hashlib.sha256(content).hexdigest() != digest:
        raise CertificateError(f"{path} is not the file that was signed; restore that file.")
    return content


def _lineage(content: bytes) -> Mapping[str, Any]:
    try:
        lineage: Mapping[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"{LINEAGE_NAME} is not valid JSON: {error}.") from error
    validate(lineage, "lineage-1")
    return lineage
