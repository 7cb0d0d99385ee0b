"""What the candidate lost: how good both models are on the same test samples.

Top-1 accuracy is always reported, and is what is graded unless the evidence declares another metric. A declared metric
enters by its own relative loss: of right and wrong (0 and 1) by the score interval for paired proportions, as top-1,
and of any other scores by the interval for the ratio of paired means.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.margin import needed_samples
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.observations import Scored
from certify.core.statistics.means import mean_interval, mean_ratio_interval
from certify.core.statistics.proportions import (
    Interval,
    PairedTable,
    difference_interval,
    mcnemar_mid_p,
    mcnemar_p,
    ratio_interval,
    wilson_interval,
)
from certify.core.windows import LARGEST

TOP1 = "top1"
WILSON = "Wilson score interval"
PAIRED_PROPORTIONS = "ratio of paired proportions, score interval (Nam and Blackwelder 2002)"
PAIRED_MEANS = "ratio of paired means (Fieller 1954), rare differences reckoned in"

Values = npt.NDArray[np.float64]


def accuracy_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Accuracy, agreement and loss, with intervals; empty where nothing was scored.

    Of a model alone, which has no predictions to be paired, there is its accuracy.

    ``samples_needed`` is there where the loss observed is below the edition's stated margin, but too few samples were
    scored to show it.

    Raises:
        CertificateError: a metric other than top-1 is declared and a sample has no score by it, or the other way round.
    """
    if not evidence.compares and (scored := evidence.observed(Scored)) is not None:
        return {Figures.accuracy(evidence.arms[0]): _proportion(int(scored.correct), int(scored.samples), edition)}
    labels = evidence.labels()
    n = len(labels)
    if n == 0:
        return {}
    baseline = np.array([p.baseline_top1 for p in evidence.predictions], dtype=np.int64)
    candidate = np.array([p.candidate_top1 for p in evidence.predictions], dtype=np.int64)
    table = PairedTable.from_correct(baseline == labels, candidate == labels)
    majority = int(np.unique(labels, return_counts=True)[1].max())
    estimates = {
        Figures.accuracy("baseline"): _proportion(table.baseline, n, edition),
        Figures.accuracy("candidate"): _proportion(table.candidate, n, edition),
        Figures.agreement: _proportion(int(np.sum(baseline == candidate)), n, edition),
        Figures.majority_share: Estimate.exact(majority / n, "1", "share of the commonest class in the test set"),
        Figures.accuracy_difference_points: _difference(table, edition),
        Figures.mcnemar_p: Estimate.exact(mcnemar_p(table), "1", "McNemar's test, exact, two-sided"),
        Figures.mcnemar_mid_p: Estimate.exact(mcnemar_mid_p(table), "1", "McNemar's test, mid-p, two-sided"),
        **_graded(evidence, table, edition),
    }
    needed = needed_samples(estimates, edition.grading.stated_loss_percent, edition)
    if needed is not None and needed > n:
        method = (
            f"samples that would show a loss below {edition.grading.stated_loss_percent:g} %, at the shares observed"
        )
        estimates[Figures.samples_needed] = Estimate.exact(needed, "1", method)
    return estimates


def declared_metric(evidence: Evidence) -> str:
    """Name of the metric that is graded; top-1 where the evidence declares none.

    Raises:
        CertificateError: it is no text.
    """
    name = evidence.header.data.get("metric", TOP1)
    if not isinstance(name, str) or not name:
        raise CertificateError(f"Evidence: the metric should be a name, found {name!r}.")
    return name


def _graded(evidence: Evidence, top1: PairedTable, edition: Edition) -> dict[str, Estimate]:
    """The loss that is graded, and the mean scores where the metric is not top-1."""
    metric = declared_metric(evidence)
    scores = _scores(evidence, metric)
    if scores is None:
        return _paired_loss(top1, "", edition)
    baseline, candidate = scores
    prefix = f"{metric}: "
    if np.all((baseline == 0) | (baseline == 1)) and np.all((candidate == 0) | (candidate == 1)):
        table = PairedTable.from_correct(baseline == 1, candidate == 1)
        means = {arm: _proportion(right, table.n, edition, prefix) for arm, right in
                 (("baseline", table.baseline), ("candidate", table.candidate))}  # fmt: skip
        loss = _paired_loss(table, prefix, edition)
    else:
        means = {"baseline": _mean(baseline, prefix, edition), "candidate": _mean(candidate, prefix, edition)}
        loss = _mean_loss(baseline, candidate, prefix, edition)
    return {**{Figures.score(arm): mean for arm, mean in means.items()}, **loss}


def _scores(evidence: Evidence, metric: str) -> tuple[Values, Values] | None:
    """Scores of both models by the declared metric; None where that is top-1."""
    pairs = [(p.baseline_score, p.candidate_score) for p in evidence.predictions]
    known = [value for pair in pairs for value in pair if value is not None]
    if len(known) != (0 if metric == TOP1 else 2 * len(pairs)):
        raise CertificateError(
            f"Evidence: the metric is {metric}, and {len(known)} scores stand in {len(pairs)} samples."
        )
    if metric == TOP1:
        return None
    if len(pairs) < 2 or not all(abs(value) < LARGEST for value in known):
        raise CertificateError(f"Evidence: the scores by {metric} are too few, or hold a number that can't be.")
    values = np.array(known, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _proportion(successes: int, n: int, edition: Edition, prefix: str = "") -> Estimate:
    interval = wilson_interval(successes, n, edition.plan.confidence)
    return _within(successes / n, interval.low, interval.high, "1", n, prefix + WILSON)


def _mean(scores: Values, prefix: str, edition: Edition) -> Estimate:
    interval = mean_interval(scores, edition.plan.confidence)
    return _within(
        float(np.mean(scores)), interval.low, interval.high, "1", len(scores), f"{prefix}mean, normal interval"
    )


def _difference(table: PairedTable, edition: Edition) -> Estimate:
    interval = difference_interval(table, edition.plan.confidence)
    value = 100 * (table.candidate - table.baseline) / table.n
    method = "difference of paired proportions, score interval (Tango 1998)"
    return _within(value, 100 * interval.low, 100 * interval.high, "%", table.n, method)


def _paired_loss(table: PairedTable, prefix: str, edition: Edition) -> dict[str, Estimate]:
    """Relative loss of the share of right samples, and the samples that make it; nothing without a right one."""
    if table.baseline == 0:
        return {}
    interval = ratio_interval(table, edition.plan.confidence)
    lost = f"{prefix}samples right under the baseline alone"
    gained = f"{prefix}samples right under the candidate alone"
    return {
        Figures.relative_loss_percent: _loss(
            table.candidate / table.baseline, interval, table.n, prefix + PAIRED_PROPORTIONS
        ),
        Figures.lost_samples: Estimate.exact(table.only_baseline, "1", lost),
        Figures.gained_samples: Estimate.exact(table.only_candidate, "1", gained),
    }


def _mean_loss(baseline: Values, candidate: Values, prefix: str, edition: Edition) -> dict[str, Estimate]:
    """Relative loss of the mean score; nothing where the baseline's can't be told from 0."""
    interval = mean_ratio_interval(baseline, candidate, edition.plan.confidence)
    if interval is None:
        return {}
    ratio = float(np.mean(candidate)) / float(np.mean(baseline))
    return {Figures.relative_loss_percent: _loss(ratio, interval, len(baseline), prefix + PAIRED_MEANS)}


def _loss(ratio: float, interval: Interval, n: int, method: str) -> Estimate:
    low = 100 * (1 - interval.high) if math.isfinite(interval.high) else -math.inf
    return _within(100 * (1 - ratio), low, 100 * (1 - interval.low), "%", n, method)


def _within(value: float, low: float, high: float, unit: str, n: int, method: str) -> Estimate:
    # An end that meets the value exactly (nothing wrong, nothing right) may miss it by the last bit.
    return Estimate(value, min(low, value), max(high, value), unit, n, method)
