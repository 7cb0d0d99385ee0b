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
    """Judge the evidence, sign what follows from it, and write the sealed model with its sidecar files.

    Args:
        candidate_normalised: the file that was measured.
        evidence: of that measurement.
        lineage: how the candidate came about; None for a file from elsewhere.
        preprocess: of the candidate, as stored in the file.
        companions: further files to bind by digest, by the name that they have in ``out``; not copied.
        out: folder; see :func:`certify.attest.issue.issue`.
        signer: the key to sign with.
        model_name: for people; taken from the lineage or the file's name by default.
        edition: by whose rules; those of the evidence by default.
        regrade_of: the certificate from whose evidence this one is made under another edition.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: the evidence is about another file, or something does not fit its schema.
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
