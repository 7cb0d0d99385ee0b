"""Statements that keys make about keys: a successor, or that all signatures are void."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from certify.attest.certificate import read_certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.signed import Signed, read_statement, sign_statement
from certify.core.errors import CertificateError

KEY_STATEMENTS_NAME = "keys.jsonl"
"""File of keys' statements; a maker who rotated keys ships it next to the model."""


def hand_over(old: SigningKey, new: PublicKey) -> Signed:
    """Return the old key's statement that the new one is its successor."""
    return sign_statement("handover-1", _about(new), {"successor": new.hex}, old)


def revoke(key: SigningKey, reason: str) -> Signed:
    """Return a key's statement that all its signatures are void."""
    return sign_statement("revocation-1", _about(key.public), {"reason": reason}, key)


def read_key_statements(path: Path) -> list[Signed]:
    """Return the handovers and revocations in a file that has one per line.

    Raises:
        UsageError: the file cannot be read.
        CertificateError: a line is neither, or its signature is invalid.
    """
    found = []
    # A trailing newline is allowed, because users append lines with `>>`.
    for number, line in enumerate(read_certificate(path).removesuffix(b"\n").split(b"\n"), start=1):
        try:
            statement = read_statement(line, "handover-1", "revocation-1")
        except CertificateError as error:
            raise CertificateError(f"{path}, line {number}: {error}") from error
        is_handover = statement.schema == "handover-1"
        about = PublicKey(bytes.fromhex(statement.predicate["successor"])) if is_handover else statement.signer
        # The subject and the statement are both signed, and must name the same key.
        if statement.subject[0]["digest"]["sha256"] != about.key_id:
            raise CertificateError(f"{path}, line {number}: the subject and the statement name different keys.")
        found.append(statement)
    return found


def _about(key: PublicKey) -> Sequence[Mapping[str, object]]:
    return [{"name": "key", "digest": {"sha256": key.key_id}}]
