"""Revoked models, whose certificates are void because a record that they saw was withdrawn: ``revoked.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from certify.attest.certificate import Certificate, read_certificate
from certify.attest.keys import SigningKey
from certify.attest.signed import Signed, read_statement, sign_statement
from certify.attest.trust import TrustStore
from certify.core.errors import CertificateError
from certify.core.finding import Finding

NAME = "revoked.json"
SCHEMA = "revoked-models-1"


def revoke_models(models: Mapping[str, Mapping[str, str]], reason: str, policy: str, signer: SigningKey) -> Signed:
    """Sign the revocation of models.

    Args:
        models: digests of each model, by name.
        reason: reason in one sentence.
        policy: digest of the use policy of their data.
        signer: key that signed their certificates, or one that their readers trust.
    """
    subject = [{"name": name, "digest": dict(digests)} for name, digests in models.items()]
    return sign_statement(SCHEMA, subject, {"reason": reason, "policy": policy}, signer)


def check_revoked(
    certificate: Certificate, folders: Sequence[Path], named: Iterable[Path], store: TrustStore
) -> Finding | None:
    """Check that the model is not revoked by its maker or by someone the reader trusts.

    Args:
        certificate: certificate of the model.
        folders: folders that may contain ``revoked.json``.
        named: further files, which must be readable.
        store: trust store of the reader.

    Returns:
        The finding; None if there is no revocation statement at all.

    Raises:
        CertificateError: a named file is malformed.
    """
    # Compared by content, because the file may have been sealed again since.
    content = certificate.statement["subject"][0]["digest"]["leanmarkContent"]
    files = [(folder / NAME, False) for folder in folders if (folder / NAME).is_file()]
    files += [(path, True) for path in named]
    found: Finding | None = None
    for path, required in files:
        try:
            statement = read_statement(read_certificate(path).removesuffix(b"\n"), SCHEMA)
        except CertificateError as error:
            # A list that the user names must be readable; one next to the model fails the check.
            if required:
                raise
            return Finding("not_revoked", "fail", f"{path.name} cannot be read, so it may revoke the model: {error}")
        about = any(subject["digest"]["leanmarkContent"] == content for subject in statement.subject)
        # The maker's own revocation counts even if the reader does not trust the maker.
        counts = statement.signer == certificate.signer or store.standing(statement.signer).trusted
        who = "its maker" if statement.signer == certificate.signer else f"key {statement.signer.key_id[:16]}"
        if about and counts:
            return Finding("not_revoked", "fail", f"The model was revoked by {who}: {statement.predicate['reason']}")
        if about:
            # Keep looking: a later file may revoke it with a key that counts.
            found = Finding("not_revoked", "note", f"{who} revoked the model, but you do not trust that key.")
        elif found is None:
            found = Finding("not_revoked", "pass", f"{path.name} does not revoke the model.")
    return found
