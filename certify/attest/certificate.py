"""A certificate as it is read: from a seal, or from the file beside a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from certify.assessments.efficiency.profile import Profile
from certify.attest.envelope import Envelope, parse_envelope
from certify.attest.keys import PublicKey
from certify.attest.statement import parse_statement
from certify.core.errors import CertificateError, UsageError
from certify.core.registry import provided
from certify.core.schema import validate
from certify.model_file.model_file import kind_of, open_model
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES

CERTIFICATE_NAME = "certificate.json"
EVIDENCE_NAME = "evidence.jsonl"
LINEAGE_NAME = "lineage.json"
LABEL_SVG_NAME = "label.svg"
LABEL_PNG_NAME = "label.png"


@dataclass(frozen=True, repr=False)
class Certificate:
    """A certificate that has been read; whether it is to be believed, :func:`verify` says.

    Attributes:
        content: canonical JSON of the signed envelope, the bytes of ``certificate.json``.
    """

    content: bytes

    def __post_init__(self) -> None:
        _ = self.statement

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """Read ``certificate.json``, the seal of an ONNX file, or what lies beside a file that can't be sealed.

        Raises:
            UsageError: there is no such file.
            CertificateError: it holds no certificate, or a malformed one.
        """
        if path.suffix == kind_of(path).suffix and path.is_file():
            with open_model(path) as model:
                content = model.seal() if model.carries_seal else read_certificate(path.with_name(CERTIFICATE_NAME))
        else:
            content = read_certificate(path)
        if content is None:
            raise CertificateError(f"{path} holds no certificate.")
        try:
            return cls(content)
        except CertificateError as error:
            raise CertificateError(f"{path} holds no certificate that can be read: {error}") from error

    @cached_property
    def envelope(self) -> Envelope:
        """Payload and signature."""
        return parse_envelope(self.content)

    @cached_property
    def statement(self) -> Mapping[str, Any]:
        """The in-toto statement, checked against its schema."""
        return parse_statement(self.envelope.payload)

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What was found."""
        predicate: Mapping[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def subject_digest(self) -> Mapping[str, str]:
        """Digests of the model: ``sha256`` of the file, ``leanmarkContent``."""
        digest: Mapping[str, str] = self.statement["subject"][0]["digest"]
        return digest

    @property
    def is_sealed(self) -> bool:
        """Whether it is about a file that carries the seal; of another, it lies beside."""
        return kind_of(Path(self.statement["subject"][0]["name"])).carries_seal

    @property
    def signer(self) -> PublicKey:
        """The key that the certificate says signed it."""
        return PublicKey(bytes.fromhex(self.predicate["signer"]["public_key"]))

    @property
    def grade_text(self) -> str:
        """The letter as it is written, or ``refused``."""
        return str(self.predicate["grade"]["text"]) if self.predicate["outcome"] == "graded" else "refused"

    @property
    def measuring_edition(self) -> str:
        """Name of the edition whose plan the measurement followed: its own, or that of the one it is a regrade of."""
        first = self.predicate.get("regrade_of")
        return str(self.predicate["edition"]["name"] if first is None else first["edition"])

    @property
    def renderer(self) -> str:
        """What drew the label, with its version."""
        return str(self.predicate["label"]["renderer"])

    @property
    def digest(self) -> str:
        """Hex SHA-256 of :attr:`content`."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def profile(self) -> Profile:
        """The signed estimates and guards."""
        return Profile.from_json(self.predicate["profile"])

    def _repr_svg_(self) -> str:
        drawn: str = provided("drawings")[0](self)
        return drawn

    def __repr__(self) -> str:
        edition = self.predicate["edition"]["name"]
        return f"Certificate({self.grade_text}, edition {edition}, {self.digest[:16]})"


def read_certificate(path: Path) -> bytes:
    """Bytes of a certificate file, which may not be larger than any certificate is.

    Raises:
        UsageError: the file can't be read.
        CertificateError: it is too large.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The certificate {path} can't be read: {error.strerror}.") from error
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(f"{path} is larger than {MAX_CERTIFICATE_BYTES} bytes, so it is no certificate.")
    return content


def read_lineage(path: Path) -> Mapping[str, Any]:
    """Read a ``lineage.json``.

    Raises:
        UsageError: the file can't be read.
        CertificateError: it does not fit its schema.
    """
    try:
        lineage: Mapping[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"The lineage {path} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"The lineage {path} is no JSON: {error}.") from error
    validate(lineage, "lineage-1")
    return lineage
