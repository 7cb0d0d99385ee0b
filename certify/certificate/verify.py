"""Verification: is this the file, is the signature good, and does the letter follow from the evidence.

Nothing that is read is believed before it was checked, and nothing malformed ends in a traceback: every finding is a
named check. What can't be told from a certificate is whether its maker was honest; only a remeasurement by somebody
else tells that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from certify.certificate.checks_model import check_model
from certify.certificate.checks_papers import check_papers
from certify.certificate.envelope import Envelope, parse_envelope
from certify.certificate.issue import CERTIFICATE_NAME, Certificate, read_certificate
from certify.certificate.keys import PublicKey, trusted_keys
from certify.certificate.seal import read_seal
from certify.certificate.verification import Check, Verification
from certify.errors import CertificateError, LeanmarkError, UsageError

__all__ = ["Check", "Verification", "verify"]


def verify(
    path: str | Path,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    trust: Iterable[str | Path | PublicKey] = (),
) -> Verification:
    """Check a certified ONNX file and everything that lies beside it.

    Args:
        path: the ONNX file.
        certificate: its certificate; by default the one sealed into the file, else ``certificate.json`` beside it.
        evidence: the evidence file; ``evidence.jsonl`` beside the model by default.
        trust: public keys (PEM files or hexadecimal) whose signature counts, besides the user's own.

    Raises:
        UsageError: a file that was named does not exist.
        CertificateError: there is no certificate at all, or a trusted key is malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file to verify.")
    if evidence is not None and not Path(evidence).is_file():
        raise UsageError(f"{evidence}: no such evidence file.")
    keys = trusted_keys(trust)
    found = _locate(path, None if certificate is None else Path(certificate))
    checks = list(found[1])
    if found[0] is None:
        return Verification(path, tuple(checks), None)
    read, authenticity = _authenticate(found[0], keys)
    checks += authenticity
    if read is not None:
        folders = [path.parent] if certificate is None else [path.parent, Path(certificate).parent]
        checks += check_model(path, read)
        checks += check_papers(read, folders, None if evidence is None else Path(evidence))
    return Verification(path, tuple(checks), read)


def _locate(path: Path, named: Path | None) -> tuple[bytes | None, list[Check]]:
    """The certificate's bytes, from the seal if there is one, and whether seal and sidecar agree."""
    checks = []
    sealed = None
    try:
        sealed = read_seal(path)
    except LeanmarkError as error:
        checks.append(Check("seal", "fail", str(error)))
    sidecar_path = named or path.parent / CERTIFICATE_NAME
    sidecar = read_certificate(sidecar_path) if named or sidecar_path.is_file() else None
    if sealed is None and sidecar is None:
        if not checks:
            raise CertificateError(f"{path} holds no certificate and none lies beside it. Name one with --certificate.")
        return None, checks
    if sealed is not None and sidecar is not None:
        same = sealed == sidecar
        sentence = f"{sidecar_path} {'is' if same else 'differs from'} the certificate in the file."
        checks.append(Check("sidecar_identical", "pass" if same else "fail", sentence))
    elif sealed is not None:
        checks.append(Check("sidecar_identical", "skipped", f"No {CERTIFICATE_NAME} lies beside the file."))
    elif not checks:
        checks.append(Check("sidecar_identical", "note", f"The file carries no seal; {sidecar_path} is used."))
    return (sidecar if sealed is None else sealed), checks


def _authenticate(content: bytes, keys: frozenset[PublicKey]) -> tuple[Certificate | None, list[Check]]:
    """Envelope, schema, signature and key; no certificate where it can't be read."""
    try:
        envelope = parse_envelope(content)
    except CertificateError as error:
        return None, [Check("envelope_canonical", "fail", str(error))]
    checks = [Check("envelope_canonical", "pass", "The envelope is its own canonical form.")]
    try:
        certificate = Certificate(content)
    except CertificateError as error:
        return None, [*checks, Check("schema", "fail", str(error))]
    checks.append(Check("schema", "pass", "The statement fits certificate-1."))
    checks += _check_signature(envelope, certificate.signer, keys)
    return certificate, checks


def _check_signature(envelope: Envelope, key: PublicKey, keys: frozenset[PublicKey]) -> Iterator[Check]:
    if envelope.key_id != key.key_id:
        yield Check("signature", "fail", "The envelope names another key than the statement.")
    elif not envelope.signed_by(key):
        yield Check("signature", "fail", f"The signature is not that of key {key.key_id[:16]} over this statement.")
    else:
        yield Check("signature", "pass", f"Signed by key {key.key_id[:16]}.")
    if key in keys:
        yield Check("key_trusted", "pass", "You trust this key.")
    else:
        yield Check("key_trusted", "note", "You have not said that you trust this key (--trust).")
