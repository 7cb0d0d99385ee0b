"""A certificate read from a seal or from the file next to a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from certify.assessment.assessment import Assessment
from certify.assessment.claims import REFUSED, Claims
from certify.assessment.profile import Profile
from certify.assessment.registry import assessment_of
from certify.attest.envelope import Envelope, parse_envelope
from certify.attest.keys import PublicKey
from certify.attest.statement import parse_statement
from certify.core.errors import CertificateError, UsageError
from certify.core.registry import provided
from certify.core.schema import validate
from certify.model_file.model_file import has_model_suffix, open_model
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES

CERTIFICATE_NAME = "certificate.json"
EVIDENCE_NAME = "evidence.jsonl"
LINEAGE_NAME = "lineage.json"
SIGNER_NAME = "signer.pub"
"""The signer's public key. It does not prove who owns the key; the owner must confirm it by another channel."""
LABEL_SVG_NAME = "label.svg"
LABEL_PNG_NAME = "label.png"


@dataclass(frozen=True, repr=False)
class Certificate:
    """A parsed certificate; whether it can be believed is answered by :func:`verify`.

    Attributes:
        content: canonical JSON of the signed envelope, the bytes of ``certificate.json``.
        may_be_unknown: whether it may belong to an assessment that is not installed.
        derived: fields of the predicate shown as derived from the records instead of in their signer's words.
        audited: fields of the predicate as derived from the auditor file, if it was read.
    """

    content: bytes
    may_be_unknown: bool = False
    derived: Mapping[str, Any] = field(default_factory=dict, compare=False)
    audited: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        # Parsed immediately, because a certificate that cannot be read must not exist as an object.
        _ = self.statement

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """Read ``certificate.json``, the seal of an ONNX file, or the certificate next to a file that cannot be sealed.

        Raises:
            UsageError: the file does not exist.
            CertificateError: there is no certificate, or it is malformed.
        """
        if has_model_suffix(path) and path.is_file():
            with open_model(path) as model:
                content = model.seal() if model.carries_seal else read_certificate(path.with_name(CERTIFICATE_NAME))
        else:
            content = read_certificate(path)
        if content is None:
            raise CertificateError(f"{path} does not contain a certificate.")
        try:
            return cls(content)
        except CertificateError as error:
            raise CertificateError(f"{path} is not a certificate: {error}") from error

    @cached_property
    def envelope(self) -> Envelope:
        """Payload and signature."""
        return parse_envelope(self.content)

    @cached_property
    def statement(self) -> Mapping[str, Any]:
        """The in-toto statement, checked against its schema."""
        return parse_statement(self.envelope.payload, self.may_be_unknown)

    @property
    def predicate(self) -> Mapping[str, Any]:
        """Signed content of the statement."""
        predicate: Mapping[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def subject_digest(self) -> Mapping[str, str]:
        """Digests of the model: ``sha256`` of the file and ``leanmarkContent``."""
        digest: Mapping[str, str] = self.statement["subject"][0]["digest"]
        return digest

    @property
    def subject_name(self) -> str:
        """Name of the model file."""
        return str(self.statement["subject"][0]["name"])

    @property
    def signer(self) -> PublicKey:
        """Key that the certificate names as its signer."""
        return PublicKey(bytes.fromhex(self.predicate["signer"]["public_key"]))

    @cached_property
    def assessment(self) -> Assessment:
        """Assessment that the statement belongs to."""
        return assessment_of(self.statement["predicateType"], self.may_be_unknown)

    @cached_property
    def displayed(self) -> Mapping[str, Any]:
        """Predicate as displayed to readers."""
        # Derived words replace the signed ones, so that a maker cannot word a result better than it is.
        return {**self.predicate, **self.derived}

    @cached_property
    def claims(self) -> Claims:
        """Claims that may be printed about it.

        Raises:
            CertificateError: a printable field is malformed.
        """
        return self.assessment.claims(self.displayed, self.digest)

    @property
    def audited_claims(self) -> Claims:
        """Claims for an auditor who read the auditor file; equal to :attr:`claims` if it was not read."""
        return self.assessment.claims({**self.displayed, **self.audited}, self.digest) if self.audited else self.claims

    def require(self, assessment: str) -> None:
        """Require that the statement belongs to an assessment.

        Raises:
            CertificateError: it belongs to another assessment.
        """
        if self.assessment.name != assessment:
            raise CertificateError(f"The statement must be of {assessment}, got one of {self.assessment.name}.")

    @property
    def result(self) -> Mapping[str, Any]:
        """Signed outcome."""
        result: Mapping[str, Any] = self.predicate[self.assessment.result]
        return result

    @property
    def outcome_text(self) -> str:
        """Outcome as printed: a letter, a claim, or ``refused``."""
        return REFUSED if self.displayed["outcome"] == REFUSED else str(self.displayed[self.assessment.result]["text"])

    @property
    def digest(self) -> str:
        """Hex SHA-256 of :attr:`content`."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def profile(self) -> Profile:
        """Signed estimates and guards."""
        return Profile.from_json(self.predicate["profile"])

    def _repr_svg_(self) -> str | None:
        drawn: str | None = provided("drawings")[0](self)
        return drawn

    def __repr__(self) -> str:
        edition = self.predicate["edition"]["name"]
        return f"Certificate({self.outcome_text}, edition {edition}, {self.digest[:16]})"


def read_certificate(path: Path) -> bytes:
    """Return the bytes of a certificate file, with a size limit.

    Raises:
        UsageError: the file cannot be read.
        CertificateError: it is too large.
    """
    try:
        # Read one byte more than allowed, so that a larger file is noticed without being read in full.
        with path.open("rb") as stream:
            content = stream.read(MAX_CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The certificate {path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_CERTIFICATE_BYTES:
        raise CertificateError(f"{path} is larger than {MAX_CERTIFICATE_BYTES} bytes, so it is not a certificate.")
    return content


def read_lineage(path: Path) -> Mapping[str, Any]:
    """Read and validate a ``lineage.json``.

    Raises:
        UsageError: the file cannot be read.
        CertificateError: it violates its schema.
    """
    try:
        lineage: Mapping[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"The lineage {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"The lineage {path} is not valid JSON: {error}.") from error
    validate(lineage, "lineage-1")
    return lineage
