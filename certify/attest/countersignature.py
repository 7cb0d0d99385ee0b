"""A third party's signed verdict on a certificate.

The envelope of a certificate has exactly one signature, its maker's, and no byte of it can vary. A second signature
over the same statement could not say what its signer did. So a verifier signs a statement of their own about the model
and the certificate, identified by digest, which says how they checked (derived again from the maker's evidence, or
measured again) and whether they agree. It is stored in ``countersignatures/`` next to the model, named after the key
id, with the evidence of the new measurement. Anyone who can write to that folder can also delete it: the absence of a
disagreement proves nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.attest.certificate import CERTIFICATE_NAME, Certificate, read_certificate
from certify.attest.checks_records import MAX_EVIDENCE_BYTES
from certify.attest.keys import SigningKey
from certify.attest.signed import Signed, SignedFile, read_statement, sign_statement
from certify.attest.statements import files_beside
from certify.attest.verification import Vouching
from certify.core.errors import CertificateError, UsageError
from certify.core.files import sha256_file, write_bytes

if TYPE_CHECKING:
    from certify.assessment.agreement import Agreement
    from certify.attest.audit import Audit

FOLDER = "countersignatures"
EVIDENCE_SUFFIX = ".evidence.jsonl"
SCHEMA = "countersignature-1"

SURROUNDINGS = frozenset(
    {"countersignature", "countersignature_follows", "identity", "key_statements", "label", "label_picture"}
)
"""Checks of files next to a certificate that are not part of it; a verdict never rests on these."""

SELF_ATTESTED: Vouching = "self-attested"


@dataclass(frozen=True)
class Remeasured:
    """Second measurement of a certified pair, and its comparison with the first."""

    evidence: Any
    agreement: Agreement


def countersign(
    audit: Audit, signer: SigningKey, remeasured: Remeasured | None = None, remark: str | None = None
) -> tuple[Signed, Mapping[str, Path]]:
    """Sign a verdict on a certificate, and write it next to the model.

    Args:
        audit: audit of the certificate against its evidence.
        signer: the verifier's key.
        remeasured: the new measurement, if there was one.
        remark: sentence for human readers.

    Returns:
        The statement, and the written files by name.

    Raises:
        UsageError: the key is the maker's own, the maker's key is revoked, or a new measurement is a copy of the first
            or is inconclusive.
        CertificateError: a field violates the schema.
    """
    # Before anything is signed: a verdict by the maker would look like that of a third party.
    _require_another(audit, signer)
    assessment = audit.certificate.assessment
    if remeasured is not None and assessment.is_repeat(audit.evidence, remeasured.evidence):
        raise UsageError(
            "The new evidence contains the windows of the first measurement, so nothing was measured again. Create it "
            "with leanmark audit --remeasure --keep, or countersign without it."
        )
    # An undecided figure would be signed as agreement.
    if remeasured is not None and not remeasured.agreement.decided:
        undecided = ", ".join(figure.name for figure in remeasured.agreement.undecided)
        raise UsageError(
            f"The new measurement neither confirms nor contradicts {undecided}, so there is nothing to sign. Measure "
            "longer, on a quieter machine, or countersign without it."
        )
    records = None if remeasured is None else assessment.dump(remeasured.evidence)
    predicate = _predicate(audit, remeasured, records, remark)
    statement = sign_statement(SCHEMA, _subject(audit.certificate), predicate, signer)
    base = audit.path.parent / FOLDER / signer.public.key_id
    written = {}
    evidence = base.with_suffix(EVIDENCE_SUFFIX)
    if records is None:
        evidence.unlink(missing_ok=True)  # left by an earlier statement of this key, which the new one replaces
    else:
        write_bytes(evidence, records)
        written["evidence"] = evidence
    written["countersignature"] = base.with_suffix(".json")
    write_bytes(written["countersignature"], statement.content)
    return statement, written


def _require_another(audit: Audit, signer: SigningKey) -> None:
    """Require a third party's key, and a maker's key that is not revoked.

    Raises:
        UsageError: either condition fails.
    """
    if not audit.certificate.assessment.sealed:
        raise UsageError(
            "Only an efficiency certificate can be countersigned, but this model has none; run leanmark certify."
        )
    if audit.certificate.signer == signer.public:
        raise UsageError(
            "Your key signed this certificate, so your countersignature would vouch for nothing; use someone else's "
            "key (--key)."
        )
    trust = audit.verification.check("key_trusted")
    if trust is not None and trust.outcome == "fail":
        raise UsageError(f"{trust.sentence} It cannot be countersigned.")


def _subject(certificate: Certificate) -> list[dict[str, Any]]:
    model = certificate.statement["subject"][0]
    return [model, {"name": CERTIFICATE_NAME, "digest": {"sha256": certificate.digest}}]


def _predicate(
    audit: Audit, remeasured: Remeasured | None, records: bytes | None, remark: str | None
) -> dict[str, Any]:
    # A missing label or somebody else's file must not make a verifier disagree.
    differs = [name for name in audit.own_differs if name not in SURROUNDINGS]
    if remeasured is not None:
        differs += [figure.name for figure in remeasured.agreement.figures if figure.outcome == "differs"]
    found = audit.outcome_text if remeasured is None else remeasured.agreement.text
    repeated = {} if remeasured is None else audit.certificate.assessment.repeated(remeasured.evidence)
    return {
        "leanmark": version("leanmark"),
        "maker": audit.certificate.signer.key_id,
        "grade": {"certified": audit.certificate.outcome_text, "found": found},
        "checked": "cross-checked" if remeasured is None else "reproduced",
        "agrees": not differs,
        "differs": differs,
        "figures": [] if remeasured is None else [figure.to_json() for figure in remeasured.agreement.figures],
        "device": repeated.get("device"),
        "fresh_data": fresh_data_of(repeated),
        "auditor_files": sorted(audit.verification.auditor_files),
        "evidence": None if records is None else {"sha256": hashlib.sha256(records).hexdigest(), "bytes": len(records)},
        "remark": remark,
    }


def fresh_data_of(repeated: Mapping[str, Any]) -> str | None:
    """Return the recorded data that the maker had not seen and that were scored: ``no``, or a specification."""
    fresh: str | None = repeated.get("data", {}).get("fresh")
    return fresh


@dataclass(frozen=True)
class Countersignature(SignedFile):
    """Countersignature next to a model, about its certificate."""

    @property
    def agrees(self) -> bool:
        """Whether its signer agrees with the certificate."""
        return bool(self.signed.predicate["agrees"])

    @property
    def auditor_files(self) -> tuple[str, ...]:
        """Digests of the auditor files that its signer had."""
        return tuple(self.signed.predicate.get("auditor_files", ()))

    @property
    def sentence(self) -> str:
        """What its signer states."""
        rows = " and the rows of private data" if self.auditor_files else ""
        how = f"derived it again from the evidence{rows}"
        if self.checked == "reproduced":
            fresh = self.signed.predicate["fresh_data"]
            scored = f"with fresh data ({fresh})" if fresh not in (None, "no") else "without fresh data"
            how = f"measured it again {scored}"
        if self.agrees:
            return f"{how} and agrees"
        return f"{how} and DISAGREES: {', '.join(self.signed.predicate['differs'])}"


def countersignature_files(folders: Sequence[Path]) -> list[Path]:
    """Return the countersignature files next to a model, sorted by name.

    Raises:
        CertificateError: there are more than the limit.
    """
    return files_beside(FOLDER, folders)


def read_countersignature(path: Path, certificate: Certificate) -> Countersignature:
    """Read a countersignature and check that it is about a certificate.

    Raises:
        CertificateError: it is malformed, its signature is invalid, it is about another certificate, or the evidence
            next to it is not the signed one.
    """
    if not path.is_file():
        raise CertificateError("The countersignature is not a regular file.")
    signed = read_statement(read_certificate(path), SCHEMA)
    # Model and certificate: a verdict on one certificate does not hold for another one of the same model.
    if list(signed.subject) != _subject(certificate):
        raise CertificateError("The countersignature is about another certificate.")
    # One file per key, because a copy under another name would count twice.
    if path.stem != signed.signer.key_id:
        raise CertificateError("The file is not named after the key that signed it.")
    evidence = path.with_suffix(EVIDENCE_SUFFIX)
    stated = signed.predicate["evidence"]
    # Optional for readers, since the verdict is signed; if it is present, it must be the signed one.
    if evidence.is_file():
        size = evidence.stat().st_size
        if size > MAX_EVIDENCE_BYTES:
            raise CertificateError(f"{evidence.name} has {size} bytes, more than the limit of {MAX_EVIDENCE_BYTES}.")
        if stated is None or (size, sha256_file(evidence)) != (stated["bytes"], stated["sha256"]):
            raise CertificateError(f"{evidence.name} is not the evidence that was signed.")
    return Countersignature(path, signed)
