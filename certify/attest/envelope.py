"""The signed envelope: DSSE (https://github.com/secure-systems-lab/dsse) around an in-toto statement.

One byte sequence stands for one envelope: JSON that is not its own canonical form (RFC 8785), base64 with stray
padding bits, an unknown member or a second signature are all refused, so that nothing in a certificate can be changed
without a check that notices.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import rfc8785

from certify.attest.keys import PublicKey, SigningKey
from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Envelope:
    """A payload and the one signature over it.

    Attributes:
        payload: the signed bytes.
        key_id: id of the key that signed, as the envelope names it.
        signature: 64 bytes of Ed25519.
    """

    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """Canonical JSON of the envelope."""
        return rfc8785.dumps(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}],
            }
        )

    def signed_by(self, key: PublicKey) -> bool:
        """Whether the signature over payload and payload type is this key's."""
        from securesystemslib.dsse import Envelope as DsseEnvelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]

        signature = Signature(self.key_id, self.signature.hex())
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
    """Read an envelope; the signature is not checked.

    Raises:
        CertificateError: the bytes are not the canonical form of an envelope with one signature.
    """
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(f"The certificate has {len(content)} bytes; at most {MAX_CERTIFICATE_BYTES} are read.")
    values = parse_canonical(content, "the envelope")
    try:
        signature = values["signatures"][0]
        envelope = Envelope(
            payload=base64.b64decode(values["payload"], validate=True),
            key_id=str(signature["keyid"]),
            signature=base64.b64decode(signature["sig"], validate=True),
        )
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise CertificateError(f"The certificate is not a DSSE envelope with one signature: {error!r}.") from error
    if envelope.to_bytes() != content:  # another payload type, more members or signatures, stray base64 bits
        raise CertificateError(
            f"The envelope is not the canonical form of one {PAYLOAD_TYPE} payload with one signature."
        )
    return envelope
