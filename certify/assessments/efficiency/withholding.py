"""Efficiency evidence about private data in two files: aggregates for everybody, and rows for auditors.

The order of the samples, which decides what is scored twice and after a change, follows from keyed identifiers; so a
maker could search among keys as among files.
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
"""Observations that are withheld: answers to single samples, and what tells how large other parts are."""


def withhold(evidence: Evidence, key: DataKey) -> tuple[Evidence, bytes]:
    """Split evidence into the public one and the auditor file.

    Args:
        evidence: of a measurement on data with keyed identifiers.
        key: that these were made with.

    Returns:
        The public evidence, which binds the auditor file, and the bytes of that file.

    Raises:
        CertificateError: nothing was scored, or the identifiers are not of this key.
    """
    whole = replace(evidence, header=replace(evidence.header, auditor=None))
    tally = tally_of(whole)
    if tally is None or whole.header.data.get("private") != key.id:
        raise CertificateError(
            "Evidence about private data holds no scored samples, or their identifiers are not keyed."
        )
    content = evidence_bytes(whole)
    header = replace(whole.header, seed=None, auditor=AuditorBinding.of(content, key).to_json())
    hidden = {kind.NAME for kind in ROWS}
    kept = tuple(_counted(one) for one in whole.observations if one.name not in hidden)
    counts = Observation(PairedCounts.NAME, tally.counts().values())
    return replace(whole, header=header, predictions=(), observations=(*kept, counts)), content


def _counted(one: Observation) -> Observation:
    """An observation without the digest of fresh data, whose other values are counts."""
    return Observation(one.name, {**one.values, "test_digest": None}) if one.name == FreshScores.NAME else one


def join(public: Evidence, content: bytes, key: DataKey) -> Evidence:
    """The evidence of an auditor file, once the public one follows from it.

    Raises:
        CertificateError: the file is malformed, the public evidence is not what is left of it, or its samples are not
            the test set that it names.
    """
    whole = parse_evidence(content, "the auditor file")
    if evidence_bytes(withhold(whole, key)[0]) != evidence_bytes(public):
        raise CertificateError("The public evidence does not follow from the auditor file.")
    samples, stated = whole.predictions, whole.header.data
    if samples_digest((s.digest for s in samples), (s.label for s in samples)) != stated.get("test_digest"):
        raise CertificateError("The samples of the auditor file are not the test set that the certificate names.")
    return replace(whole, header=replace(whole.header, auditor=public.header.auditor))


def require_private(metric: str, numbers: bool, keep_data: bool) -> None:
    """Refuse before a measurement what cannot be withheld after it.

    Raises:
        UsageError: another metric than top-1 is declared, numbers are predicted, or the test part is to be kept.
    """
    if keep_data:
        raise UsageError("--keep-data writes the test samples, and --private-data withholds them; leave one out.")
    if metric != TOP1 or numbers:
        raise UsageError(
            f"Private data are graded by top-1 accuracy, which counts alone can show, and not by '{metric}', which "
            "needs the score of each sample; leave --metric or --private-data out."
        )
