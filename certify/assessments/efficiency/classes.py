"""Loss of each class: compression hurts some classes more than the average shows.

For every class of the test set, both models are scored on the same samples. The p-value is the exact two-sided one of
McNemar's test, corrected for the number of classes by Holm (1979), "A simple sequentially rejective multiple test
procedure": the chance of wrongly calling any class worse stays below 5 % over all classes together. Intervals also hold
for all classes at once (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.observations import ClassNames
from certify.core.statistics.multiple import holm, mcnemar_p_values, simultaneous
from certify.core.statistics.proportions import Interval, PairedTable, difference_interval, wilson_interval

SIGNED_CLASSES = 10
"""Number of classes in the profile, the clearest losses first; the rest follows from the evidence."""

LONGEST_NAME = 60


@dataclass(frozen=True)
class ClassLoss:
    """One class of the test set.

    Attributes:
        label: index of the class.
        name: name in the data, or the index if classes have no names.
        baseline: accuracy of the baseline on the class's samples.
        candidate: likewise of the candidate.
        difference: candidate minus baseline in percentage points; its interval holds for all classes at once.
        p: McNemar's p-value, corrected by Holm over all classes.
    """

    label: int
    name: str
    baseline: Estimate
    candidate: Estimate
    difference: Estimate
    p: Estimate

    def is_worse(self, edition: Edition) -> bool:
        """Return whether the loss is significant after correction for all classes."""
        # Holm's correction is needed because one of many classes always loses by chance.
        return self.difference.value < 0 and self.p.value <= 1 - edition.plan.confidence


def class_losses(evidence: Evidence, edition: Edition, most: int | None = None) -> tuple[ClassLoss, ...]:
    """Return the classes of the test set, the clearest losses first.

    Args:
        evidence: predictions, and class names if they were recorded.
        edition: edition with the confidence.
        most: maximum number of classes; None for all.

    Raises:
        CertificateError: the class names are not a list of strings.
    """
    labels = evidence.labels()
    if len(labels) == 0:
        return ()
    # Only classes that occur: the others have no accuracy, and would weaken the correction for all.
    classes, member = np.unique(labels, return_inverse=True)
    right = [
        np.array(list(tops), dtype=np.int64) == labels
        for tops in ((p.baseline_top1 for p in evidence.samples), (p.candidate_top1 for p in evidence.samples))
    ]
    tables = _tables(right[0], right[1], member, len(classes))
    adjusted = holm(mcnemar_p_values(tables))
    points = np.array([(table.only_candidate - table.only_baseline) / table.n for table in tables])
    # Losses before gains, the smallest p-value first, then by size.
    order = np.lexsort((classes, points, np.where(points < 0, adjusted, 2.0)))
    names = _names(evidence)
    return tuple(
        _loss(int(classes[i]), names.get(int(classes[i]), str(classes[i])), tables[i], float(adjusted[i]), edition,
              len(classes))
        for i in order[:most]
    )  # fmt: skip


def class_estimates(losses: Sequence[ClassLoss], edition: Edition) -> dict[str, Estimate]:
    """Return the figures about classes in the profile: how many are worse, and the first of them by index."""
    if not losses:
        return {}
    worse = sum(loss.is_worse(edition) for loss in losses)
    method = f"of {len(losses)} classes, those with a significant loss (McNemar, corrected by Holm)"
    estimates = {Figures.classes_worse: Estimate.exact(worse, "1", method)}
    for loss in losses[:SIGNED_CLASSES]:
        stem = f"class_{loss.label}"
        estimates[f"{stem}_accuracy_baseline"] = loss.baseline
        estimates[f"{stem}_accuracy_candidate"] = loss.candidate
        estimates[f"{stem}_difference_points"] = loss.difference
        estimates[f"{stem}_p"] = loss.p
    return estimates


def clearest_class(losses: Sequence[ClassLoss]) -> str:
    """Return the class with the clearest loss as the end of a sentence; empty if no class lost accuracy."""
    if not losses or losses[0].difference.value >= 0:
        return ""
    points, before = -losses[0].difference.value, 100 * losses[0].baseline.value
    return f", most clearly in class {losses[0].name}: {points:.3g} of {before:.3g} points"


def _tables(
    baseline: npt.NDArray[np.bool_], candidate: npt.NDArray[np.bool_], member: npt.NDArray[np.int64], classes: int
) -> list[PairedTable]:
    cells = (baseline & candidate, ~baseline & candidate, baseline & ~candidate, ~baseline & ~candidate)
    counts = [np.bincount(member, weights=cell, minlength=classes).astype(np.int64).tolist() for cell in cells]
    return [PairedTable(*row) for row in zip(*counts, strict=True)]


def _names(evidence: Evidence) -> dict[int, str]:
    observed = evidence.observed(ClassNames)
    names = [] if observed is None else observed.names
    if not all(isinstance(name, str) for name in names):
        raise CertificateError("Evidence: class names must be a list of strings.")
    return {label: name[:LONGEST_NAME] for label, name in enumerate(names)}


def _loss(label: int, name: str, table: PairedTable, p: float, edition: Edition, classes: int) -> ClassLoss:
    # Bonferroni for intervals and Holm for p-values, since Holm's procedure has no simple intervals.
    all_at_once = simultaneous(edition.plan.confidence, classes)
    method = f"class {name}: {{}}, Bonferroni over {classes} classes"
    value = (table.only_candidate - table.only_baseline) / table.n
    tango = method.format("difference of paired proportions, score interval (Tango 1998)")
    wilson = method.format("Wilson score interval")
    return ClassLoss(
        label=label,
        name=name,
        baseline=_share(table.baseline, table.n, all_at_once, wilson),
        candidate=_share(table.candidate, table.n, all_at_once, wilson),
        difference=_estimate(100 * value, difference_interval(table, all_at_once), 100, "%", table.n, tango),
        p=Estimate.exact(p, "1", f"class {name}: McNemar's test, exact, two-sided, Holm over {classes} classes"),
    )


def _share(right: int, n: int, confidence: float, method: str) -> Estimate:
    return _estimate(right / n, wilson_interval(right, n, confidence), 1, "1", n, method)


def _estimate(value: float, ends: Interval, scale: float, unit: str, n: int, method: str) -> Estimate:
    return Estimate(value, min(scale * ends.low, value), max(scale * ends.high, value), unit, n, method)
