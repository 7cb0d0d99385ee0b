"""Signed statements about keys and certificates: countersignatures, handovers, revocations.

Each is an in-toto statement in an envelope like a certificate's, with a published schema of its own.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.statement import STATEMENT_TYPE
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError
from certify.core.schema import load_schema, validate


@dataclass(frozen=True, repr=False)
class Signed:
    """A statement whose signature is that of the key it names.

    Attributes:
        schema: name of the schema that it fits.
        subject: what it is about.
        predicate: what it says.
        signer: the key that signed it.
        content: canonical JSON of the envelope.
    """

    schema: str
    subject: Sequence[Mapping[str, Any]]
    predicate: Mapping[str, Any]
    signer: PublicKey
    content: bytes


def sign_statement(
    schema: str, subject: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any], signer: SigningKey
) -> Signed:
    """Sign a statement.

    Args:
        schema: name of its published schema.
        subject: what it is about: names and digests.
        predicate: what it says, without version, time and signer.
        signer: the key to sign with.

    Raises:
        CertificateError: it does not fit the schema.
    """
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": list(subject),
        "predicateType": predicate_type(schema),
        "predicate": {
            "version": 1,
            "created": now,
            **predicate,
            "signer": {"algorithm": "ed25519", "public_key": signer.public.hex},
        },
    }
    validate(statement, schema)
    try:
        payload = rfc8785.dumps(statement)
    except ValueError as error:
        raise CertificateError(f"The statement can't be written as canonical JSON: {error}.") from error
    return read_statement(sign(payload, signer).to_bytes(), schema)


def read_statement(content: bytes, *schemas: str) -> Signed:
    """Read a signed statement and check its signature; whether the key is trusted is another question.

    Args:
        content: canonical JSON of its envelope.
        schemas: names of the kinds that may stand here.

    Raises:
        CertificateError: the envelope is not canonical, the statement is of no such kind or does not fit its schema, or
            the signature is not that of the key that the statement names.
    """
    envelope = parse_envelope(content)
    statement = parse_canonical(envelope.payload, "the statement")
    kind = statement.get("predicateType") if isinstance(statement, dict) else None
    schema = next((name for name in schemas if predicate_type(name) == kind), None)
    if schema is None:
        raise CertificateError(f"A statement of type {str(kind)[:200]!r} was found; {' or '.join(schemas)} is needed.")
    validate(statement, schema)
    key = PublicKey(bytes.fromhex(statement["predicate"]["signer"]["public_key"]))
    if envelope.key_id != key.key_id or not envelope.signed_by(key):
        raise CertificateError(f"The signature is not that of key {key.key_id[:16]}, which the statement names.")
    return Signed(schema, statement["subject"], statement["predicate"], key, content)


def predicate_type(schema: str) -> str:
    """The type that statements of a schema name."""
    return str(load_schema(schema)["properties"]["predicateType"]["const"])
