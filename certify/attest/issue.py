"""From records to a signed statement, sealed into the model or written next to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rfc8785

from certify.assessment.assessment import Assessment, profile_of
from certify.attest.certificate import (
    CERTIFICATE_NAME,
    EVIDENCE_NAME,
    LINEAGE_NAME,
    SIGNER_NAME,
    Certificate,
    read_lineage,
)
from certify.attest.envelope import sign
from certify.attest.keys import SigningKey
from certify.attest.statement import Binding, build_statement
from certify.attest.statements import records_path, remove_resting, statement_path
from certify.core.errors import CertificateError
from certify.core.files import copy, sha256_file, write_bytes
from certify.model_file.model_file import ModelFile, open_model
from certify.model_file.subject import digests_of, subject_name


@dataclass(frozen=True)
class Stated:
    """Contents of a statement that do not follow from its records.

    Attributes:
        model: display name of the model. Default: taken from the lineage or the file name.
        lineage: lineage of the model; None for a file from elsewhere.
        companions: further files to bind by digest, by their name next to the model; they are not copied.
        fields: further fields of the predicate.
    """

    model: str | None = None
    lineage: Path | None = None
    companions: Mapping[str, Path] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


def issue(
    assessment: Assessment,
    model: Path,
    records: Any,
    edition: str,
    signer: SigningKey,
    out: Path,
    stated: Stated | None = None,
) -> Certificate:
    """Judge records, sign the result, and write the statement with its records.

    An assessment that seals writes ``model.onnx`` (with external weights next to it, if any), ``certificate.json``,
    ``evidence.jsonl``, the public key as ``signer.pub`` and, if there is one, ``lineage.json`` into ``out``, the
    certificate last; a file that cannot be sealed is copied unchanged. Other assessments write ``statements/NAME.json``
    and its records next to the model. Equal input gives equal bytes: the time in the statement is that of the records.

    Args:
        assessment: assessment of the records.
        model: file that the records are about; for an assessment that seals, in its normal form.
        records: records as read by the assessment.
        edition: name of the edition to judge by.
        signer: signing key.
        out: output folder.
        stated: further contents of the statement.

    Raises:
        UsageError: the edition is unknown.
        CertificateError: the records are about another file, or a field violates its schema.
    """
    stated = stated or Stated()
    with open_model(model) as opened:
        # The file may have been edited since it was measured.
        digests, metadata = _check_subject(opened, assessment.subject(records), stated.fields), opened.metadata_digest()
    constants = assessment.load_edition(edition)
    try:
        content = assessment.dump(records)
    except ValueError as error:
        raise CertificateError(f"The evidence cannot be written as canonical JSON: {error}.") from error
    # Derived here and not passed in, so that nothing can be signed that does not follow from the records.
    profile = profile_of(assessment, records, constants)
    spec = None if stated.lineage is None else read_lineage(stated.lineage)["model"]["spec"]
    binding = Binding(
        model=stated.model or spec or model.stem,
        metadata=metadata,
        subject=subject_name(model),
        digests=digests,
        evidence=(hashlib.sha256(content).hexdigest(), len(content)),
        lineage=None if stated.lineage is None else sha256_file(stated.lineage),
        companions={name: sha256_file(path) for name, path in stated.companions.items()},
        signer=signer.public,
        stated=stated.fields,
    )
    outcome = assessment.outcome(profile, constants)
    payload = build_statement(assessment, records, profile, outcome, constants, binding)
    certificate = Certificate(sign(payload, signer).to_bytes())
    # An old scorecard would count the statement that is being replaced.
    if not assessment.rests_on_others:
        remove_resting(out)
    if assessment.sealed:
        _write_sealed(certificate, model, content, stated.lineage, out)
    else:
        path = statement_path(out, assessment.name)
        write_bytes(records_path(path), content)
        write_bytes(path, certificate.content)
    return certificate


def _write_sealed(certificate: Certificate, source: Path, records: bytes, lineage: Path | None, out: Path) -> None:
    with open_model(source) as model:
        model.write_sealed(out / subject_name(source), certificate.content)
    write_bytes(out / EVIDENCE_NAME, records)
    write_bytes(out / SIGNER_NAME, certificate.signer.to_pem())
    # A lineage that is already in place must not be copied onto itself.
    if lineage is not None and lineage.resolve() != (out / LINEAGE_NAME).resolve():
        copy(lineage, out / LINEAGE_NAME)
    # Written last, so that an interrupted run leaves no certificate without its evidence.
    write_bytes(out / CERTIFICATE_NAME, certificate.content)


def _check_subject(model: ModelFile, measured: Mapping[str, str], fields: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the model's digests, which must match the records; a stated contract must be the one in the file."""
    digests = digests_of(model)
    if digests != dict(measured):
        raise CertificateError(
            f"{model.path} is not the file that was measured (its digest differs). Measure it again."
        )
    contract = fields.get("preprocess")
    if contract is not None and model.carries_seal and model.contracts() != [rfc8785.dumps(contract)]:
        raise CertificateError(
            f"{model.path} does not contain the preprocessing contract it is certified with. Normalise it first."
        )
    return digests
