"""What the candidate lost: accuracy of both models on the same test samples."""

from __future__ import annotations

import math

import numpy as np

from certify.estimate import Estimate
from certify.evidence import Evidence
from certify.judge.edition import Edition
from certify.judge.proportions import (
    PairedTable,
    difference_interval,
    mcnemar_p,
    ratio_interval,
    samples_needed,
    wilson_interval,
)

WILSON = "Wilson score interval"


def accuracy_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Accuracy, agreement and loss, with intervals; empty without predictions.

    ``samples_needed`` is there where the loss observed is below the edition's stated margin, but too few samples were
    scored to show it.
    """
    labels = evidence.labels()
    n = len(labels)
    if n == 0:
        return {}
    baseline = np.array([p.baseline_top1 for p in evidence.predictions], dtype=np.int64)
    candidate = np.array([p.candidate_top1 for p in evidence.predictions], dtype=np.int64)
    table = PairedTable.from_correct(baseline == labels, candidate == labels)
    majority = int(np.unique(labels, return_counts=True)[1].max())
    estimates = {
        "accuracy_baseline": _proportion(table.baseline, n, edition),
        "accuracy_candidate": _proportion(table.candidate, n, edition),
        "agreement": _proportion(int(np.sum(baseline == candidate)), n, edition),
        "majority_share": Estimate.exact(majority / n, "1", "share of the commonest class in the test set"),
        "accuracy_difference_points": _difference(table, edition),
        "mcnemar_p": Estimate.exact(mcnemar_p(table), "1", "McNemar's test, exact, two-sided"),
    }
    if table.baseline > 0:
        estimates["relative_loss_percent"] = _relative_loss(table, edition)
        needed = samples_needed(table, edition.stated_loss_percent, edition.confidence)
        if needed is not None and needed > n:
            method = f"samples that would show a loss below {edition.stated_loss_percent:g} %, at the shares observed"
            estimates["samples_needed"] = Estimate.exact(needed, "1", method)
    return estimates


def _proportion(successes: int, n: int, edition: Edition) -> Estimate:
    interval = wilson_interval(successes, n, edition.confidence)
    return _within(successes / n, interval.low, interval.high, "1", n, WILSON)


def _difference(table: PairedTable, edition: Edition) -> Estimate:
    interval = difference_interval(table, edition.confidence)
    value = 100 * (table.candidate - table.baseline) / table.n
    method = "difference of paired proportions, score interval (Tango 1998)"
    return _within(value, 100 * interval.low, 100 * interval.high, "%", table.n, method)


def _relative_loss(table: PairedTable, edition: Edition) -> Estimate:
    interval = ratio_interval(table, edition.confidence)
    value = 100 * (1 - table.candidate / table.baseline)
    low = 100 * (1 - interval.high) if math.isfinite(interval.high) else -math.inf
    method = "ratio of paired proportions, score interval (Nam and Blackwelder 2002)"
    return _within(value, low, 100 * (1 - interval.low), "%", table.n, method)


def _within(value: float, low: float, high: float, unit: str, n: int, method: str) -> Estimate:
    # An end that meets the value exactly (nothing wrong, nothing right) may miss it by the last bit.
    return Estimate(value, min(low, value), max(high, value), unit, n, method)
