"""Signers, whether the user trusts them, and what each vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from certify.attest.certificate import Certificate, read_certificate
from certify.attest.countersignature import (
    SELF_ATTESTED,
    Countersignature,
    countersignature_files,
    read_countersignature,
)
from certify.attest.keyless import BUNDLE_NAME, verify_keyless
from certify.attest.trust import TrustStore
from certify.attest.verification import Signature
from certify.core.errors import CertificateError, LeanmarkError
from certify.core.finding import Finding, FindingOutcome

Found = tuple[list[Finding], list[Signature]]


def check_maker(certificate: Certificate, store: TrustStore) -> Found:
    """Check the only signature of the envelope."""
    envelope, key = certificate.envelope, certificate.signer
    short = key.key_id[:16]
    # The id in the envelope is not signed, so it must follow from the key in the statement, which is.
    if envelope.key_id != key.key_id:
        check = Finding("signature", "fail", "The envelope and the statement name different keys.")
    elif not envelope.signed_by(key):
        check = Finding("signature", "fail", f"The signature is not a signature of this statement by key {short}.")
    else:
        check = Finding("signature", "pass", f"Signed by the maker's key {short}: {SELF_ATTESTED}.")
    standing = store.standing(key)
    # A revoked key fails the check; an unknown one is only a note, because the reader decides whom to trust.
    outcome: FindingOutcome = "pass" if standing.trusted else "fail" if standing.revoked else "note"
    checks = [check, Finding("key_trusted", outcome, standing.sentence)]
    if check.outcome == "fail":
        return checks, []
    return checks, [Signature("maker", key.key_id, standing.name, standing.trusted, SELF_ATTESTED, True)]


def check_countersignatures(certificate: Certificate, folders: Sequence[Path], store: TrustStore) -> Found:
    """Check third-party statements about this certificate."""
    name = "countersignature"
    try:
        paths = countersignature_files(folders)
    except CertificateError as error:
        return [Finding(name, "fail", str(error))], []
    checks, signatures = [], []
    for path in paths:
        try:
            found = read_countersignature(path, certificate)
        except (LeanmarkError, OSError) as error:
            checks.append(Finding(name, "fail", f"{path}: {error}"))
            continue
        check, signature = _judge(found, certificate, store)
        checks.append(check)
        signatures.append(signature)
    return checks, signatures


def _judge(found: Countersignature, certificate: Certificate, store: TrustStore) -> tuple[Finding, Signature]:
    """Weigh a third-party verdict: it counts only if the signer is trusted; strangers' verdicts become notes."""
    name, key = "countersignature", found.signed.signer
    standing = store.standing(key)
    own = key == certificate.signer
    # Every maker trusts their own key, so it must not count as a third party's.
    counts = standing.trusted and not own
    signature = Signature(
        "verifier", key.key_id, standing.name, counts, found.checked, found.agrees, found.auditor_files
    )
    who = f"Key {key.key_id[:16]}" + (f" ({standing.name})" if standing.name else "")
    if own:
        return Finding(name, "note", f"{who} is the maker's own key, so it adds nothing: {found.sentence}."), signature
    if standing.revoked:
        return Finding(name, "note", standing.sentence), signature
    if not standing.trusted:
        return Finding(name, "note", f"{who}, which you do not trust: {found.sentence}."), signature
    # A trusted verifier's disagreement fails the verification.
    outcome: FindingOutcome = "pass" if found.agrees else "fail"
    vouches = f": {found.checked}" if found.agrees else ""
    return Finding(name, outcome, f"{who} {found.sentence}{vouches}."), signature


def check_identity(
    certificate: Certificate, folders: Sequence[Path], identity: str | None, issuer: str | None
) -> Found:
    """Check a sigstore signature, if there is one or one is required.

    Raises:
        MissingExtra: one is required, and the package that checks it is not installed.
    """
    path = next((folder / BUNDLE_NAME for folder in folders if (folder / BUNDLE_NAME).is_file()), None)
    if identity is None or issuer is None:
        if path is None:
            return [], []
        # Without an expected identity, anybody's signature would pass.
        sentence = f"{path} is a sigstore signature; state the expected signer with --identity and --issuer."
        return [Finding("identity", "skipped", sentence)], []
    if path is None:
        return [Finding("identity", "fail", f"No {BUNDLE_NAME} shows that {identity} signed this.")], []
    try:
        verify_keyless(read_certificate(path), certificate.envelope.payload, identity, issuer)
    except CertificateError as error:
        return [Finding("identity", "fail", str(error))], []
    sentence = f"Signed by {identity} according to {issuer}: {SELF_ATTESTED}."
    return [Finding("identity", "pass", sentence)], [Signature("maker", None, identity, True, SELF_ATTESTED, True)]
