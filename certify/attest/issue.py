"""From a finished measurement to a signed certificate, sealed into the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import rfc8785

from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import (
    CERTIFICATE_NAME,
    EVIDENCE_NAME,
    LINEAGE_NAME,
    Certificate,
    read_lineage,
)
from certify.attest.envelope import sign
from certify.attest.keys import SigningKey
from certify.attest.statement import Binding, build_statement
from certify.attest.subject import digests_of, measured_digests, subject_name
from certify.core.errors import CertificateError
from certify.core.evidence_file import evidence_bytes
from certify.core.files import copy, sha256_file, write_bytes
from certify.core.registry import provided
from certify.model_file.model_file import ModelFile, open_model

if TYPE_CHECKING:
    from certify.core.evidence import Evidence
    from certify.data.preprocess import Preprocess


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
    with open_model(candidate_normalised) as model:
        digests, metadata = _check_measured(model, evidence, preprocess)
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
        renderer=provided("renderers")[0](),
        signer=signer.public,
        regrade_of=None if regrade_of is None else _reference(regrade_of),
    )
    payload = build_statement(evidence, profile, grade(profile, constants), constants, preprocess, binding)
    certificate = Certificate(sign(payload, signer).to_bytes())
    with open_model(candidate_normalised) as model:
        model.write_sealed(out / binding.subject, certificate.content)
    write_bytes(out / EVIDENCE_NAME, records)
    if lineage is not None and lineage.resolve() != (out / LINEAGE_NAME).resolve():
        copy(lineage, out / LINEAGE_NAME)
    write_bytes(out / CERTIFICATE_NAME, certificate.content)
    return certificate


def _reference(first: Certificate) -> Mapping[str, str]:
    edition = first.predicate["edition"]["name"]
    return {"certificate": first.digest, "edition": edition, "key_id": first.signer.key_id}


def _check_measured(
    model: ModelFile, evidence: Evidence, preprocess: Preprocess
) -> tuple[Mapping[str, str], str | None]:
    """Digests of the candidate, which must be those of the evidence, and of its metadata, which holds its contract."""
    digests = digests_of(model)
    if digests != measured_digests(evidence.header.models["candidate"]):
        raise CertificateError(
            f"{model.path} is not the file that was measured (its digest differs). Measure it again."
        )
    if model.carries_seal and model.contracts() != [rfc8785.dumps(preprocess.to_json())]:
        raise CertificateError(
            f"{model.path} does not carry the preprocessing contract it is certified with. Normalise it."
        )
    return digests, model.metadata_digest()
