"""From a finished measurement to a signed efficiency certificate, sealed into the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certify.assessment.registry import sealed_assessment
from certify.attest.certificate import Certificate
from certify.attest.issue import Stated
from certify.attest.issue import issue as issue_statement
from certify.attest.keys import SigningKey
from certify.core.evidence import Evidence
from certify.core.registry import provided
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
    """Judge the evidence, sign the result, and write the sealed model with its sidecar files.

    Args:
        candidate_normalised: the measured file.
        evidence: evidence of that measurement.
        lineage: lineage of the candidate; None for a file from elsewhere.
        preprocess: preprocessing contract of the candidate, as stored in the file.
        companions: further files to bind by digest, by their name in ``out``; they are not copied.
        out: output folder; see :func:`certify.attest.issue.issue`.
        signer: the key to sign with.
        model_name: display name. Default: taken from the lineage or the file name.
        edition: edition to grade by. Default: that of the evidence.
        regrade_of: certificate whose evidence is graded again under another edition.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: the evidence is about another file, or something violates its schema.
    """
    fields = {
        "preprocess": preprocess.to_json(),
        "label": {"renderer": provided("renderers")[0]()},
        **({} if regrade_of is None else {"regrade_of": _reference(regrade_of)}),
    }
    stated = Stated(model_name, lineage, companions, fields)
    edition = edition or evidence.header.edition
    return issue_statement(sealed_assessment(), candidate_normalised, evidence, edition, signer, out, stated)


def _reference(first: Certificate) -> Mapping[str, str]:
    edition = first.predicate["edition"]["name"]
    return {"certificate": first.digest, "edition": edition, "key_id": first.signer.key_id}
