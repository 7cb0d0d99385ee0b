"""Counts of both models' correct answers: from the predictions, or as published if the data are private."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.observations import PairedCounts
from certify.core.statistics.proportions import PairedTable


@dataclass(frozen=True)
class Tally:
    """Counts over the distinct test samples.

    Attributes:
        scored: scored test samples, including repeated ones.
        table: paired counts of correct answers of both models.
        agreed: samples with the same top-1 class by both models.
        commonest: samples of the most common class.
    """

    scored: int
    table: PairedTable
    agreed: int
    commonest: int

    @property
    def n(self) -> int:
        """Distinct test samples."""
        return self.table.n

    @property
    def repeated(self) -> int:
        """Test samples that repeat an earlier one."""
        return self.scored - self.n

    def right(self, arm: str) -> int:
        """Return the number of a model's correct answers."""
        return self.table.baseline if arm == "baseline" else self.table.candidate

    def counts(self) -> PairedCounts:
        """Return the counts in published form."""
        table = self.table
        return PairedCounts(**vars(table), scored=self.scored, agreed=self.agreed, commonest=self.commonest)


def tally_of(evidence: Evidence) -> Tally | None:
    """Count the predictions, or read the published counts if they are withheld; None if nothing was scored.

    Raises:
        CertificateError: the published counts are not possible.
    """
    if evidence.withheld:
        return _published(evidence)
    labels = evidence.labels()
    if len(labels) == 0:
        return None
    tops = [
        np.array(list(map(attrgetter(f"{arm}_top1"), evidence.samples)), dtype=np.int64)
        for arm in ("baseline", "candidate")
    ]
    return Tally(
        len(evidence.predictions),
        PairedTable.from_correct(tops[0] == labels, tops[1] == labels),
        int(np.sum(tops[0] == tops[1])),
        int(np.unique(labels, return_counts=True)[1].max()),
    )


def _published(evidence: Evidence) -> Tally | None:
    found = evidence.observed(PairedCounts)
    if found is None:
        return None
    values = [getattr(found, name) for name in PairedCounts.__dataclass_fields__]
    n = found.both + found.only_baseline + found.only_candidate + found.neither
    whole = all(value == int(value) >= 0 for value in values)
    # Two correct answers to one sample agree, and the most common class has at least one sample.
    if not whole or not 1 <= n <= found.scored or not (found.both <= found.agreed <= n and 1 <= found.commonest <= n):
        raise CertificateError("Evidence: the published counts of correct answers are not possible.")
    table = PairedTable(**{name: int(getattr(found, name)) for name in PairedTable.__dataclass_fields__})
    return Tally(int(found.scored), table, int(found.agreed), int(found.commonest))
