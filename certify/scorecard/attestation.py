"""A third party's signed statement for a credit that cannot be measured: ``attestations/KEY.json`` next to a model.

It earns half of the credit's points, and only for readers who trust the key: anybody can create a key and choose a
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from certify.assessment.record_file import ModelDigests
from certify.attest.certificate import read_certificate
from certify.attest.keys import SigningKey
from certify.attest.signed import Signed, read_statement, sign_statement
from certify.attest.statements import ATTESTATIONS_FOLDER, files_beside
from certify.core.errors import CertificateError
from certify.core.files import write_bytes

SCHEMA = "attestation-1"


@dataclass(frozen=True)
class Attestation:
    """Attestation about a model.

    Attributes:
        signed: the statement.
    """

    signed: Signed

    @property
    def name(self) -> str:
        """Name of the third party."""
        return str(self.signed.predicate["name"])

    @property
    def credits(self) -> tuple[str, ...]:
        """Names of the attested credits."""
        return tuple(self.signed.predicate["credits"])


def attest(
    model: Path,
    digests: Mapping[str, str],
    subject: str,
    credits: Sequence[str],
    name: str,
    text: str,
    signer: SigningKey,
) -> Path:
    """Sign an attestation of credits and write it next to the model.

    Args:
        model: path of the model file.
        digests: digests of the model, ``sha256`` and ``leanmarkContent``.
        subject: name of the model file in its statements.
        credits: names of the attested credits.
        name: name of the third party.
        text: what the third party observed.
        signer: key of the third party.

    Returns:
        Path of the attestation.

    Raises:
        CertificateError: a field violates the schema.
    """
    # Sorted, so that the same credits in another order give the same signed bytes.
    about = [{"name": subject, "digest": dict(digests)}]
    signed = sign_statement(SCHEMA, about, {"name": name, "credits": sorted(set(credits)), "text": text}, signer)
    path = model.parent / ATTESTATIONS_FOLDER / f"{signer.public.key_id}.json"
    write_bytes(path, signed.content)
    return path


def attestation_files(folders: Sequence[Path]) -> list[Path]:
    """Return the attestation files next to a model, sorted by name.

    Raises:
        CertificateError: there are more than the limit.
    """
    return files_beside(ATTESTATIONS_FOLDER, folders)


def read_attestation(path: Path, model: ModelDigests) -> Attestation:
    """Read an attestation and check that it is about a model.

    Raises:
        CertificateError: it is malformed, its signature is invalid, or it is about another model.
    """
    # Reading a directory or a named pipe would fail obscurely, or block.
    if not path.is_file():
        raise CertificateError(f"{path.name} is not a regular file.")
    signed = read_statement(read_certificate(path), SCHEMA)
    # Checked by digest, because the third party chose the subject's name, and the file may have been copied here.
    if dict(signed.subject[0]["digest"]) != asdict(model):
        raise CertificateError(f"{path.name} is about another model.")
    # One file per key, because otherwise a third party could be listed twice, or overwrite another's file.
    if path.stem != signed.signer.key_id:
        raise CertificateError(f"{path.name} is not named after the key that signed it.")
    return Attestation(signed)
