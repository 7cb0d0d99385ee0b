"""Signed statements about keys and certificates: countersignatures, handovers and revocations.

Each is an in-toto statement in an envelope like that of a certificate, with its own published schema.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.statement import STATEMENT_TYPE
from certify.attest.verification import Vouching
from certify.core.canonical_json import parse_canonical
from certify.core.data_use.times import now
from certify.core.errors import CertificateError
from certify.core.schema import load_schema, validate


@dataclass(frozen=True, repr=False)
class Signed:
    """Statement signed by the key that it names.

    Attributes:
        schema: name of its schema.
        subject: subject of the statement.
        predicate: content of the statement.
        signer: the key that signed it.
        content: canonical JSON of the envelope.
    """

    schema: str
    subject: Sequence[Mapping[str, Any]]
    predicate: Mapping[str, Any]
    signer: PublicKey
    content: bytes

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the envelope."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class SignedFile:
    """File next to a model with a signed statement about how its certificate was checked.

    Attributes:
        path: its path.
        signed: the statement.
    """

    path: Path
    signed: Signed

    @property
    def checked(self) -> Vouching:
        """How the certificate was checked."""
        checked: Vouching = self.signed.predicate["checked"]
        return checked


def sign_statement(
    schema: str, subject: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any], signer: SigningKey
) -> Signed:
    """Sign a statement.

    Args:
        schema: name of its published schema.
        subject: subject of the statement: names and digests.
        predicate: content of the statement, without version, time and signer.
        signer: signing key.

    Raises:
        CertificateError: it violates the schema.
    """
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": list(subject),
        "predicateType": predicate_type(schema),
        "predicate": {
            "version": 1,
            "created": now(),
            **predicate,
            "signer": {"algorithm": "ed25519", "public_key": signer.public.hex},
        },
    }
    validate(statement, schema)
    try:
        payload = rfc8785.dumps(statement)
    except ValueError as error:
        raise CertificateError(f"The statement cannot be written as canonical JSON: {error}.") from error
    # Read back as a verifier would, so that no unreadable statement is written.
    return read_statement(sign(payload, signer).to_bytes(), schema)


def read_statement(content: bytes, *schemas: str) -> Signed:
    """Read a signed statement and check its signature; whether the key is trusted is a separate question.

    Args:
        content: canonical JSON of its envelope.
        schemas: names of the accepted schemas.

    Raises:
        CertificateError: the envelope is not canonical, the statement is of another kind or violates its schema, or it
            is not signed by the key that it names.
    """
    envelope = parse_envelope(content)
    statement = parse_canonical(envelope.payload, "the statement")
    kind = statement.get("predicateType") if isinstance(statement, dict) else None
    # The type is compared before the schema is chosen, so that no statement is read as one of another kind.
    schema = next((name for name in schemas if predicate_type(name) == kind), None)
    if schema is None:
        raise CertificateError(f"The statement must be {' or '.join(schemas)}, got type {str(kind)[:200]!r}.")
    validate(statement, schema)
    key = PublicKey(bytes.fromhex(statement["predicate"]["signer"]["public_key"]))
    # The statement names its key, so the name of the key is signed too.
    if envelope.key_id != key.key_id or not envelope.signed_by(key):
        raise CertificateError(f"The statement is not signed by key {key.key_id[:16]}, which it names.")
    return Signed(schema, statement["subject"], statement["predicate"], key, content)


def predicate_type(schema: str) -> str:
    """Return the predicate type of a schema.

    Example:
        >>> predicate_type("revocation-1").endswith("/v1")
        True
    """
    return str(load_schema(schema)["properties"]["predicateType"]["const"])
