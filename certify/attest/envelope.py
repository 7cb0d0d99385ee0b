"""The signed envelope: DSSE (https://github.com/secure-systems-lab/dsse) around an in-toto statement.

Each envelope has exactly one byte sequence: JSON that is not in its canonical form (RFC 8785), base64 with stray
padding bits, an unknown member or a second signature are all refused, so that any change to a certificate is detected.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import rfc8785

from certify.attest.keys import PublicKey, SigningKey
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """Payload with its only signature.

    Attributes:
        payload: signed bytes.
        key_id: id of the signing key, as named by the envelope.
        signature: 64 bytes of Ed25519.
    """

    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical JSON of the envelope."""
        return rfc8785.dumps(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}],
            }
        )

    def signed_by(self, key: PublicKey) -> bool:
        """Return whether the signature over payload and payload type was made by this key."""
        from securesystemslib.dsse import Envelope as DsseEnvelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]

        signature = Signature(self.key_id, self.signature.hex())
        # The library computes the pre-authentication encoding, which binds the payload type.
        envelope = DsseEnvelope(self.payload, PAYLOAD_TYPE, {self.key_id: signature})
        try:
            envelope.verify([SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.hex})], 1)
        except VerificationError:
            return False
        return True


def sign(payload: bytes, key: SigningKey) -> Envelope:
    """Sign a payload. Ed25519 is deterministic: the same payload and key give the same envelope."""
    from securesystemslib.dsse import Envelope as DsseEnvelope
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

    public = SSlibKey(key.public.key_id, "ed25519", "ed25519", {"public": key.public.hex})
    signature = DsseEnvelope(payload, PAYLOAD_TYPE, {}).sign(CryptoSigner(key.private, public))
    return Envelope(payload, key.public.key_id, bytes.fromhex(signature.signature))


def parse_envelope(content: bytes) -> Envelope:
    """Parse an envelope without checking the signature.

    Raises:
        CertificateError: the bytes are not the canonical form of an envelope with exactly one signature.
    """
    # Before parsing, which takes many times the memory of the bytes.
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(
            f"The certificate has {len(content)} bytes, more than the limit of {MAX_CERTIFICATE_BYTES}."
        )
    values = parse_canonical(content, "the envelope")
    try:
        signature = values["signatures"][0]
        envelope = Envelope(
            # Without validate, characters outside the alphabet are skipped silently.
            payload=base64.b64decode(values["payload"], validate=True),
            key_id=str(signature["keyid"]),
            signature=base64.b64decode(signature["sig"], validate=True),
        )
    except (KeyError, IndexError, TypeError) as error:
        raise CertificateError(
            "The certificate must be a DSSE envelope with a payload and one signature, and a field is missing or of "
            "another type."
        ) from error
    except ValueError as error:
        raise CertificateError(f"The payload and the signature of an envelope must be in base64: {error}.") from error
    if envelope.to_bytes() != content:  # a different payload type, more members or signatures, or stray base64 bits
        raise CertificateError(
            f"The envelope is not the canonical form of one {PAYLOAD_TYPE} payload with one signature."
        )
    return envelope
