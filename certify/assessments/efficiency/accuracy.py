"""Accuracy of both models on the same test samples, and what the candidate lost.

Top-1 accuracy is always reported, and is graded unless the evidence declares another metric. A declared metric is
graded by the relative loss of its mean above the best constant answer, so that no offset or other affine map of the
metric makes a loss smaller; see :mod:`certify.assessments.efficiency.declared_metric`. A repeated sample counts once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.assessments.efficiency.declared_metric import declared_scores
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.margin import needed_samples
from certify.assessments.efficiency.tally import tally_of
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

WILSON = "Wilson score interval"
PAIRED_PROPORTIONS = "ratio of paired proportions, score interval (Nam and Blackwelder 2002)"
PAIRED_MEANS = "ratio of paired means above the best constant answer (Fieller 1954), corrected for rare differences"

Values = npt.NDArray[np.float64]


def accuracy_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Return accuracy, agreement and loss, with intervals; empty if nothing was scored.

    For a single model, which has no paired predictions, only its accuracy is returned.

    ``samples_needed`` is present if the observed loss is below the edition's stated margin, but too few samples were
    scored to show it.

    Raises:
        CertificateError: a declared metric other than top-1 has no scores, or scores exist without such a metric.
    """
    # A model measured alone has no baseline to pair with.
    if not evidence.compares and (scored := evidence.observed(Scored)) is not None:
        return {Figures.accuracy(evidence.arms[0]): _proportion(int(scored.correct), int(scored.samples), edition)}
    tally = tally_of(evidence)
    if tally is None:
        return {}
    n, table = tally.n, tally.table
    estimates = {
        Figures.accuracy("baseline"): _proportion(table.baseline, n, edition),
        Figures.accuracy("candidate"): _proportion(table.candidate, n, edition),
        Figures.agreement: _proportion(tally.agreed, n, edition),
        Figures.majority_share: Estimate.exact(
            tally.commonest / n, "1", "share of the most common class in the test set"
        ),
        Figures.accuracy_difference_points: _difference(table, edition),
        Figures.mcnemar_p: Estimate.exact(mcnemar_p(table), "1", "McNemar's test, exact, two-sided"),
        Figures.mcnemar_mid_p: Estimate.exact(mcnemar_mid_p(table), "1", "McNemar's test, mid-p, two-sided"),
        **_graded(evidence, table, edition),
    }
    if tally.repeated:
        method = "test samples that are exact copies of an earlier one, not counted again"
        estimates[Figures.duplicate_samples] = Estimate.exact(tally.repeated, "1", method)
    if evidence.header.auditor is not None:
        method = "test samples whose rows are in the auditor file"
        estimates[Figures.private_samples] = Estimate.exact(tally.scored, "1", method)
    needed = needed_samples(estimates, edition.grading.stated_loss_percent, edition)
    if needed is not None and needed > n:
        method = (
            f"samples needed to show a loss below {edition.grading.stated_loss_percent:g} %, at the observed shares"
        )
        estimates[Figures.samples_needed] = Estimate.exact(needed, "1", method)
    return estimates


def _graded(evidence: Evidence, top1: PairedTable, edition: Edition) -> dict[str, Estimate]:
    """Return the graded loss, and the mean scores if the metric is not top-1."""
    declared = declared_scores(evidence)
    if declared is None:
        return _paired_loss(top1, edition)
    prefix = f"{declared.metric}: "
    estimates = {
        Figures.score(arm): _mean(scores, prefix, edition)
        for arm, scores in (("baseline", declared.baseline), ("candidate", declared.candidate))
    }
    constant = declared.constant
    if constant is None:
        return estimates
    method = f"{prefix}mean score of the best constant answer ({constant.answer})"
    estimates[Figures.score_constant] = Estimate.exact(float(np.mean(constant.scores)), "1", method)
    # Scores count above the best constant answer, so that an offset in the metric cannot dilute a loss.
    # Without this, a metric with a floor of 0.9 would turn a loss of half of what the model knows into 5 %.
    excess = declared.baseline - constant.scores, declared.candidate - constant.scores
    return {**estimates, **_mean_loss(*excess, prefix, edition)}


def _proportion(successes: int, n: int, edition: Edition) -> Estimate:
    interval = wilson_interval(successes, n, edition.plan.confidence)
    return _within(successes / n, interval.low, interval.high, "1", n, WILSON)


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


def relative_loss(table: PairedTable, confidence: float) -> Estimate | None:
    """Return the relative loss of the share of correct samples, in percent; None if the baseline has none correct.

    Args:
        table: counts of samples that both, one or neither got right.
        confidence: confidence of the two-sided interval.

    Example:
        >>> table = PairedTable.from_correct(np.array([True] * 100), np.array([True] * 99 + [False]))
        >>> round(relative_loss(table, 0.95).value, 6)
        1.0
    """
    if table.baseline == 0:
        return None
    interval = ratio_interval(table, confidence)
    return _loss(table.candidate / table.baseline, interval, table.n, PAIRED_PROPORTIONS)


def _paired_loss(table: PairedTable, edition: Edition) -> dict[str, Estimate]:
    """Return the relative loss of the share of correct samples, and its counts; nothing if the baseline has none."""
    loss = relative_loss(table, edition.plan.confidence)
    if loss is None:
        return {}
    lost, gained = (f"samples correct only under the {arm}" for arm in ("baseline", "candidate"))
    return {
        Figures.relative_loss_percent: loss,
        Figures.lost_samples: Estimate.exact(table.only_baseline, "1", lost),
        Figures.gained_samples: Estimate.exact(table.only_candidate, "1", gained),
    }


def _mean_loss(baseline: Values, candidate: Values, prefix: str, edition: Edition) -> dict[str, Estimate]:
    """Return the relative loss of the mean score above the best constant answer; nothing if the baseline's may be 0."""
    interval = mean_ratio_interval(baseline, candidate, edition.plan.confidence)
    if interval is None:
        return {}
    ratio = float(np.mean(candidate)) / float(np.mean(baseline))
    return {Figures.relative_loss_percent: _loss(ratio, interval, len(baseline), prefix + PAIRED_MEANS)}


def _loss(ratio: float, interval: Interval, n: int, method: str) -> Estimate:
    # If the ratio has no upper bound, neither has the gain.
    low = 100 * (1 - interval.high) if math.isfinite(interval.high) else -math.inf
    # The ends swap, because a loss is 1 minus a ratio.
    return _within(100 * (1 - ratio), low, 100 * (1 - interval.low), "%", n, method)


def _within(value: float, low: float, high: float, unit: str, n: int, method: str) -> Estimate:
    # An end that equals the value exactly (all or none correct) may differ from it in the last bit.
    return Estimate(value, min(low, value), max(high, value), unit, n, method)
