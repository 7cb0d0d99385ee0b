"""Ed25519 keys (RFC 8032) for signing and for checking signatures.

A key id is the hex SHA-256 of the 32 raw bytes of the public key (RFC 8032, section 5.1.5), so an id always identifies
its own key. :mod:`certify.attest.keys` stores keys in files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certify.core.errors import CertificateError


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key.

    Attributes:
        raw: its 32 bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise CertificateError(f"An Ed25519 public key must have 32 bytes, got {len(self.raw)}.")

    @property
    def hex(self) -> str:
        """The raw bytes in hexadecimal."""
        return self.raw.hex()

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the raw bytes."""
        return hashlib.sha256(self.raw).hexdigest()

    def to_pem(self) -> bytes:
        """Return the key as PEM (SubjectPublicKeyInfo)."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, message: bytes, signature: bytes) -> bool:
        """Return whether a signature over a message was made by this key.

        Example:
            >>> key = SigningKey(Ed25519PrivateKey.generate())
            >>> key.public.signed(b"a", key.sign(b"a")), key.public.signed(b"b", key.sign(b"a"))
            (True, False)
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, repr=False)
class SigningKey:
    """A private key that can sign; its repr shows the public half only."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """Public half of the key."""
        return PublicKey(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature, which is deterministic."""
        return self.private.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.key_id})"
