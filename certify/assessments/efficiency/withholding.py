"""Efficiency evidence about private data in two files: aggregates for the public, rows for auditors.

The order of the samples, which decides what is scored twice and after a change, follows from keyed identifiers. So a
maker could search among keys, as among files.
"""

from __future__ import annotations

from dataclasses import replace

from certify.assessments.efficiency.tally import tally_of
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import Evidence, Observation
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.observations import (
    ChangedAnswers,
    FreshScores,
    NearDuplicates,
    Overlap,
    PairedCounts,
    RepeatedAnswers,
    SampleOrder,
)
from certify.core.private_data import AuditorBinding, DataKey
from certify.data.dataset import samples_digest
from certify.data.metrics import TOP1

ROWS = (ChangedAnswers, NearDuplicates, Overlap, RepeatedAnswers, SampleOrder)
"""Withheld observations: answers to single samples, and observations that reveal the size of other splits."""


def withhold(evidence: Evidence, key: DataKey) -> tuple[Evidence, bytes]:
    """Split evidence into the public part and the auditor file.

    Args:
        evidence: evidence of a measurement on data with keyed identifiers.
        key: data key that keyed them.

    Returns:
        The public evidence, which binds the auditor file, and the bytes of that file.

    Raises:
        CertificateError: nothing was scored, or the identifiers belong to another key.
    """
    whole = replace(evidence, header=replace(evidence.header, auditor=None))
    tally = tally_of(whole)
    if tally is None or whole.header.data.get("private") != key.id:
        raise CertificateError("Evidence about private data must contain scored samples with keyed identifiers.")
    content = evidence_bytes(whole)
    header = replace(whole.header, seed=None, auditor=AuditorBinding.of(content, key).to_json())
    hidden = {kind.NAME for kind in ROWS}
    observations = tuple(_counted(observation) for observation in whole.observations if observation.name not in hidden)
    counts = Observation(PairedCounts.NAME, tally.counts().values())
    return replace(whole, header=header, predictions=(), observations=(*observations, counts)), content


def _counted(observation: Observation) -> Observation:
    """Return the observation without the digest of fresh data; its other values are counts."""
    return (
        Observation(observation.name, {**observation.values, "test_digest": None})
        if observation.name == FreshScores.NAME
        else observation
    )


def join(public: Evidence, content: bytes, key: DataKey) -> Evidence:
    """Return the evidence in an auditor file, after checking that the public evidence follows from it.

    Raises:
        CertificateError: the file is malformed, the public evidence does not follow from it, or its samples are not the
            test set that it names.
    """
    whole = parse_evidence(content, "the auditor file")
    if evidence_bytes(withhold(whole, key)[0]) != evidence_bytes(public):
        raise CertificateError("The public evidence does not follow from the auditor file.")
    samples, stated = whole.predictions, whole.header.data
    if samples_digest((s.digest for s in samples), (s.label for s in samples)) != stated.get("test_digest"):
        raise CertificateError("The samples of the auditor file are not the test set that the certificate names.")
    return replace(whole, header=replace(whole.header, auditor=public.header.auditor))


def require_private(metric: str, numbers: bool, keep_data: bool) -> None:
    """Refuse before measuring what could not be withheld afterwards.

    Raises:
        UsageError: a metric other than top-1 is declared, the task is regression, or the test split is to be saved.
    """
    if keep_data:
        raise UsageError(
            "--keep-data and --private-data exclude each other: one saves the test samples, the other withholds them."
        )
    if metric != TOP1 or numbers:
        raise UsageError(
            f"Private data are graded by top-1 accuracy, which counts alone can show, not by '{metric}', which "
            "needs each sample's score; omit --metric or --private-data."
        )
