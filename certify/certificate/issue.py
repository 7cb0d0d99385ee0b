"""From a finished measurement to a signed certificate, sealed into the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certify.certificate.content import metadata_digest
from certify.certificate.envelope import Envelope, parse_envelope, sign
from certify.certificate.keys import PublicKey, SigningKey
from certify.certificate.messages import parse_model
from certify.certificate.normalise import PREPROCESS_KEY
from certify.certificate.seal import MAX_CERTIFICATE_BYTES, read_seal, seal
from certify.certificate.statement import SUBJECT_NAME, Binding, build_statement, parse_statement
from certify.certificate.subject import can_be_sealed, measured_digests, subject_digests, subject_name
from certify.certificate.weights import copy_weights
from certify.errors import CertificateError, UsageError
from certify.evidence_file import evidence_bytes
from certify.files import copy, sha256_file, write_bytes, write_text
from certify.schema import validate

if TYPE_CHECKING:
    from certify.data.preprocess import Preprocess
    from certify.evidence import Evidence
    from certify.judge.profile import Profile

__all__ = [
    "CERTIFICATE_NAME",
    "EVIDENCE_NAME",
    "LABEL_PNG_NAME",
    "LABEL_SVG_NAME",
    "LINEAGE_NAME",
    "SUBJECT_NAME",
    "Certificate",
    "draw_label",
    "issue",
    "read_certificate",
    "read_lineage",
]

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
        if not can_be_sealed(path):
            path = path.with_name(CERTIFICATE_NAME)
        content = read_seal(path) if path.suffix == ".onnx" and path.is_file() else read_certificate(path)
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
        return bool(self.statement["subject"][0]["name"] == SUBJECT_NAME)

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
    def digest(self) -> str:
        """Hex SHA-256 of :attr:`content`."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def profile(self) -> Profile:
        """The signed estimates and guards."""
        from certify.judge.profile import Profile

        return Profile.from_json(self.predicate["profile"])

    def label(self) -> str:
        """The label as SVG."""
        from certify.present.claims import efficiency_claims
        from certify.present.label import draw

        return draw(efficiency_claims(self.predicate, self.digest))

    def _repr_svg_(self) -> str:
        return self.label()

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


def issue(
    candidate_normalised: Path,
    evidence: Evidence,
    lineage: Path | None,
    preprocess: Preprocess,
    companions: Mapping[str, Path],
    out: Path,
    signer: SigningKey,
    *,
    model_name: str | None = None,
    edition: str | None = None,
    regrade_of: Certificate | None = None,
) -> Certificate:
    """Judge the evidence, sign what follows from it, and write the sealed model with its papers.

    Writes ``model.onnx`` (with its weights beside it where they lie outside), ``certificate.json``, ``evidence.jsonl``
    and, where there is one, ``lineage.json`` into ``out``, each as a whole, the certificate last. A file that can't be
    sealed is copied as it is. Equal input gives equal bytes: the time in the certificate is that of the measurement.

    Args:
        candidate_normalised: the file that was measured.
        evidence: of that measurement.
        lineage: how the candidate came about; None for a file from elsewhere.
        preprocess: of the candidate, as stored in the file.
        companions: further files to bind by digest, by the name that they have in ``out``; not copied.
        out: folder.
        signer: the key to sign with.
        model_name: for people; taken from the lineage or the file's name by default.
        edition: by whose rules; those of the evidence by default.
        regrade_of: the certificate from whose evidence this one is made under another edition.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: the evidence is about another file, or something does not fit its schema.
    """
    from certify.judge.edition import load_edition
    from certify.judge.grade import grade
    from certify.judge.profile import derive
    from certify.present.label import renderer

    digests, metadata = _check_measured(candidate_normalised, evidence, preprocess)
    constants = load_edition(edition or evidence.header.edition)
    profile = derive(evidence, constants)
    try:
        records = evidence_bytes(evidence)
    except ValueError as error:
        raise CertificateError(f"The evidence can't be written as canonical JSON: {error}.") from error
    spec = None if lineage is None else read_lineage(lineage)["model"]["spec"]
    binding = Binding(
        model=model_name or spec or candidate_normalised.stem,
        metadata=metadata,
        subject=subject_name(candidate_normalised),
        digests=digests,
        evidence=(hashlib.sha256(records).hexdigest(), len(records)),
        lineage=None if lineage is None else sha256_file(lineage),
        companions={name: sha256_file(path) for name, path in companions.items()},
        renderer=renderer(),
        signer=signer.public,
        regrade_of=None if regrade_of is None else _reference(regrade_of),
    )
    payload = build_statement(evidence, profile, grade(profile, constants), constants, preprocess, binding)
    certificate = Certificate(sign(payload, signer).to_bytes())
    if can_be_sealed(candidate_normalised):
        copy_weights(candidate_normalised, out)
        seal(candidate_normalised, out / binding.subject, certificate.content)
    else:
        copy(candidate_normalised, out / binding.subject)
    write_bytes(out / EVIDENCE_NAME, records)
    if lineage is not None and lineage.resolve() != (out / LINEAGE_NAME).resolve():
        copy(lineage, out / LINEAGE_NAME)
    write_bytes(out / CERTIFICATE_NAME, certificate.content)
    return certificate


def draw_label(certificate: Certificate, folder: Path) -> None:
    """Write the label of a certificate into a folder, as SVG and PNG."""
    from certify.present.label import render

    drawing = certificate.label()
    write_text(folder / LABEL_SVG_NAME, drawing)
    write_bytes(folder / LABEL_PNG_NAME, render(drawing))


def _reference(first: Certificate) -> Mapping[str, str]:
    edition = first.predicate["edition"]["name"]
    return {"certificate": first.digest, "edition": edition, "key_id": first.signer.key_id}


def _check_measured(path: Path, evidence: Evidence, preprocess: Preprocess) -> tuple[Mapping[str, str], str | None]:
    """Digests of the candidate, which must be those of the evidence, and of its metadata, which holds its contract."""
    import rfc8785

    digests = subject_digests(path)
    if digests != measured_digests(evidence.header.models["candidate"]):
        raise CertificateError(f"{path} is not the file that was measured (its digest differs). Measure it again.")
    if not can_be_sealed(path):
        return digests, None
    model = parse_model(path)
    contracts = [entry.value for entry in model.metadata_props if entry.key == PREPROCESS_KEY]
    if contracts != [rfc8785.dumps(preprocess.to_json()).decode()]:
        raise CertificateError(f"{path} does not carry the preprocessing contract it is certified with. Normalise it.")
    return digests, metadata_digest(model)


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
