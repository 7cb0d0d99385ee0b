"""Signed lines: one canonical JSON object per message, from untrusted parties.

A line holds the fields of its message, its ``kind`` and the ``signature`` over the domain, the kind and all other
fields. The domain prevents the use of a signature outside a federated run, and the kind its use for another message.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar, cast

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError, UsageError
from certify.core.federation.messages import Begin, End, Enrolment, Entry, Message, Receipt, Round, Run
from certify.core.signing_keys import PublicKey, SigningKey
from certify.core.validation import validated

DOMAIN = b"leanmark federation v1\x00"
KINDS: dict[str, type[Any]] = {
    "run": Run,
    "client": Enrolment,
    "begin": Begin,
    "entry": Entry,
    "receipt": Receipt,
    "round": Round,
    "end": End,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
SMALL_BYTES = 8 << 10
LARGE_BYTES = 64 << 20
"""Maximum size of a line: lines of one client are small, lines that list clients grow with their number."""
LARGE = ("begin", "round")

_SIGNATURE = re.compile(r"[0-9a-f]{128}", re.ASCII)
T = TypeVar("T", bound=Message, covariant=True)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Signed(Generic[T]):
    """A message with its signature.

    Attributes:
        message: signed message.
        signature: 64 bytes.
        line: canonical JSON, without a line end.
    """

    message: T
    signature: bytes
    line: bytes

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the line, by which other messages refer to it."""
        return hashlib.sha256(self.line).hexdigest()

    @property
    def kind(self) -> str:
        """Kind of the message, as in the line."""
        return _NAMES[type(self.message)]

    def signed_by(self, key: PublicKey) -> bool:
        """Return whether the signature was made by this key."""
        return key.signed(signing_bytes(self.message), self.signature)


def client_id(key: str) -> str:
    """Return the id of the client with a public key in hexadecimal."""
    return PublicKey(bytes.fromhex(key)).key_id


def peers_digest(group: Sequence[str]) -> str:
    """Return the digest over the sorted ids of clients whose masks cancel.

    Example:
        >>> peers_digest(["b" * 64, "a" * 64]) == peers_digest(["a" * 64, "b" * 64])
        True
    """
    return hashlib.sha256(rfc8785.dumps(sorted(group))).hexdigest()


def signing_bytes(message: Message) -> bytes:
    """Return the signed bytes: domain, kind and canonical JSON of the fields."""
    return DOMAIN + _NAMES[type(message)].encode() + b"\x00" + rfc8785.dumps(asdict(message))


def sign(message: M, key: SigningKey) -> Signed[M]:
    """Sign a message.

    Args:
        message: message, whose fields are checked.
        key: signing key of the server, or of the client named in the message.

    Raises:
        CertificateError: a field is invalid, or the line is too long.

    Example:
        >>> from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        >>> key = SigningKey(Ed25519PrivateKey.generate())
        >>> signed = sign(Enrolment("ab" * 32, key.public.hex), key)
        >>> parse(signed.line, "the enrolment", "client") == signed, signed.signed_by(key.public)
        (True, True)
    """
    kind = _NAMES[type(message)]
    fields = asdict(message)
    # Read back as a reader would, so that no unreadable message is signed.
    checked = cast(M, _read(kind, json.loads(rfc8785.dumps(fields)), f"The {kind}"))
    signature = key.sign(signing_bytes(checked))
    line = rfc8785.dumps({**fields, "kind": kind, "signature": signature.hex()})
    _require_size(kind, line, f"The {kind}")
    return Signed(checked, signature, line)


def parse(line: bytes, what: str, *kinds: str) -> Signed[Any]:
    """Parse a signed line; the signature itself is not checked.

    Args:
        line: canonical JSON, without a line end.
        what: name used in errors.
        kinds: allowed kinds; all by default.

    Raises:
        CertificateError: the line is too long, not canonical, of another kind, or a field is missing, unknown or not
            allowed.
    """
    # Checked before parsing, which needs many times the memory of the raw bytes.
    if len(line) > LARGE_BYTES:
        raise CertificateError(f"{what}: has {len(line)} bytes, more than the limit of {LARGE_BYTES}.")
    values = parse_canonical(line, what)
    kind = values.pop("kind", None) if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in (kinds or KINDS):
        raise CertificateError(f"{what}: a message of kind {json.dumps(kind)[:60]} is not allowed here.")
    _require_size(kind, line, what)
    signature = values.pop("signature", None)
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise CertificateError(f"{what}: has no signature of 64 bytes.")
    return Signed(_read(kind, values, what), bytes.fromhex(signature), line)


def verified(line: bytes, what: str, key: PublicKey, *kinds: str) -> Signed[Any]:
    """Parse a line that must be signed by a key.

    Raises:
        CertificateError: as for :func:`parse`, or the signature is not from the key.
    """
    found = parse(line, what, *kinds)
    if not found.signed_by(key):
        raise CertificateError(f"{what}: the signature is not that of key {key.key_id[:16]}.")
    return found


def _require_size(kind: str, line: bytes, what: str) -> None:
    most = LARGE_BYTES if kind in LARGE else SMALL_BYTES
    if len(line) > most:
        raise CertificateError(f"{what}: has {len(line)} bytes; a message of kind {kind} has at most {most}.")


def _read(kind: str, values: dict[str, Any], what: str) -> Message:
    """Make a message from its fields, all of which must be stated."""
    try:
        message: Message = validated(KINDS[kind], values, kind, lambda *_: what)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    # A line with omitted defaults would have a different canonical form from the signed one.
    if json.loads(rfc8785.dumps(asdict(message))) != values:
        raise CertificateError(f"{what}: the {kind} does not state every field in its canonical form.")
    return message
