"""Margins that too few samples cannot show, and roughly how many samples could.

The number is not a promise: it assumes that the shares observed in this test set stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.core.estimate import Estimate
from certify.core.statistics.proportions import PairedTable, samples_needed


def needed_samples(estimates: Mapping[str, Estimate], loss_percent: float, edition: Edition) -> int | None:
    """Return roughly how many samples would show a relative loss of at most a margin, given these observations.

    Args:
        estimates: estimates of a profile.
        loss_percent: the margin, above 0.
        edition: edition with the confidence.

    Returns:
        None if the observed loss reaches the margin, so that no number suffices, or if no loss was estimated.
    """
    loss = Figures.of(estimates).relative_loss_percent
    # More samples narrow the interval around the observed loss; they do not move it below a margin that it already
    # exceeds.
    if loss is None or not math.isfinite(loss.high) or loss.value >= loss_percent:
        return None
    table = paired_table(estimates)
    if table is not None:
        return samples_needed(table, loss_percent, edition.plan.confidence)
    # For a mean, the half-width falls with the square root of the number of samples.
    return math.ceil(loss.n * ((loss.high - loss.value) / (loss_percent - loss.value)) ** 2)


def paired_table(estimates: Mapping[str, Estimate]) -> PairedTable | None:
    """Return the paired counts of correct samples by the graded score; None if that score is not binary."""
    figures = Figures.of(estimates)
    lost, gained = figures.lost_samples, figures.gained_samples
    baseline = figures.score("baseline") or figures.accuracy("baseline")
    if lost is None or gained is None or baseline is None:
        return None
    n, only_baseline, only_candidate = baseline.n, round(lost.value), round(gained.value)
    both = round(baseline.value * n) - only_baseline
    return PairedTable(both, only_candidate, only_baseline, n - both - only_baseline - only_candidate)


def next_letter(letter: str, upper_ratio: float, modelled: bool, edition: Edition) -> tuple[str, float] | None:
    """Return the next better letter, and the largest loss in percent with which this energy would earn it.

    Returns:
        None if there is no better letter, modelled energy cannot earn it, or the energy is too high for it even without
        any loss.
    """
    order = [*edition.grading.letters, edition.grading.last_letter]
    place = order.index(letter)
    best = order.index(edition.grading.best_modelled_letter) if modelled else 0
    if place <= best:
        return None
    better = order[place - 1]
    allowed = (
        -edition.grading.energy_weight * math.log10(upper_ratio) - edition.grading.letters[better]
    ) / edition.grading.loss_weight
    return (better, allowed) if allowed > 0 else None
