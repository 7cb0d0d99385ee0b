"""Sentences next to a letter: what was lost, what could not be shown, and how many samples would show it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from certify.assessments.efficiency.classes import clearest_class
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.margin import needed_samples, next_letter
from certify.core.estimate import Estimate
from certify.data.regression import scale_of

SHOWN_DIGITS = 2


def loss_notes(estimates: Mapping[str, Estimate], edition: Edition) -> list[str]:
    """Return notes on what was lost and, separately, on what could not be shown; the metric; and the worst classes.

    Args:
        estimates: estimates of a profile, including a relative loss.
        edition: edition with the stated margin.
    """
    figures, loss = Figures.of(estimates), estimates[Figures.relative_loss_percent]
    declared, needed, worse = figures.score("baseline"), figures.samples_needed, figures.classes_worse
    quality = "accuracy" if declared is None else "score above the best constant answer"
    if loss.value > 0:
        lost = f"{loss.value:.3g} % of the baseline's {quality} was lost on these {loss.n} samples"
    else:
        lost = f"No {quality} was lost on these {loss.n} samples"
    unshown = max(0.0, loss.high) - max(0.0, loss.value)
    notes = [f"{lost}; a further {unshown:.3g} % could not be ruled out." if unshown > 0 else f"{lost}."]
    if declared is not None:
        notes.append(f"The loss is of a declared metric, not of top-1 ({declared.method}).")
        if (scale := scale_of(declared.method.partition(": ")[0])) is not None:
            notes.append(f"An answer within {scale:g} of the target counts as correct, in place of top-1.")
    if needed is not None:
        margin = f"{edition.grading.stated_loss_percent:g} %"
        notes.append(
            f"With {loss.n} images a loss below {margin} cannot be shown; about {about(needed.value)} are needed."
        )
    if worse is not None and worse.value > 0:
        notes.append(f"In {worse.value:.0f} of the classes the loss is significant{clearest_class(figures.classes)}.")
    return notes


def unshown_margins(
    estimates: Mapping[str, Estimate], edition: Edition, letter: str | None, upper_ratio: float | None, modelled: bool
) -> list[str]:
    """Return how many samples a better letter would need, or any letter if the loss that cannot be ruled out bars it.

    Args:
        estimates: estimates of a profile, including a relative loss.
        edition: edition with the letters and the largest loss.
        letter: letter given; None for a refusal.
        upper_ratio: U of the grade.
        modelled: whether the energy is modelled.
    """
    loss = estimates[Figures.relative_loss_percent]
    if letter is None:
        largest = edition.grading.largest_loss_percent
        needed = needed_samples(estimates, largest, edition) if loss.high > largest else None
        if needed is None:
            return []
        return [
            f"With {loss.n} images a loss of at most {largest:g} %, which any letter needs, cannot be shown; about "
            f"{about(needed)} are needed."
        ]
    following = None if upper_ratio is None else next_letter(letter, upper_ratio, modelled, edition)
    if following is None:
        return []
    better, allowed = following
    needed = needed_samples(estimates, allowed, edition)
    if needed is None or needed <= loss.n:
        return []
    return [
        f"With about {about(needed)} images this could be {better}, if the loss is as observed: at this energy "
        f"{better} needs a loss of at most {allowed:.2g} %, which {loss.n} images cannot show."
    ]


def about(count: float) -> str:
    """Format an approximate number of samples: two digits, rounded up.

    Example:
        >>> about(4137.2)
        '4200'
    """
    scale = 10 ** max(0, len(str(math.ceil(count))) - SHOWN_DIGITS)
    return f"{math.ceil(count / scale) * scale:.0f}"
