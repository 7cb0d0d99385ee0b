"""The two headlines of a certificate, energy and accuracy: a figure, its meaning, and its bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate
from certify.present.numbers import MINUS, percent, rounded, times

CONFIDENCE = "(95 % interval)"


@dataclass(frozen=True)
class Headline:
    """One headline.

    Attributes:
        figure: point estimate (``4.2×``).
        meaning: meaning of the figure (``less energy``).
        bound: pessimistic end of its interval, in words.
    """

    figure: str
    meaning: str
    bound: str

    def sentence(self) -> str:
        """Headline as one sentence, for screen readers."""
        return f"{self.figure} {self.meaning}, {self.bound}"


def energy_of(claims: EfficiencyClaims) -> Headline | None:
    """Return the energy headline; None for a refusal."""
    if claims.refused:
        return None
    return energy_headline(claims.figures[claims.names.energy_ratio], claims.grade.upper_ratio)


def accuracy_of(claims: EfficiencyClaims) -> Headline | None:
    """Return the accuracy headline; None for a refusal."""
    if claims.refused:
        return None
    loss = claims.figures[claims.names.relative_loss_percent]
    return accuracy_headline(loss, claims.grade.loss_percent, "score" if claims.scored else "accuracy")


def energy_headline(ratio: Estimate, upper: float | None) -> Headline:
    """Return the headline of an energy ratio.

    Args:
        ratio: candidate / baseline.
        upper: U of the grade: the pessimistic end of the ratio's interval, plus the bias of the null run.

    Example:
        >>> energy_headline(Estimate(0.25, 0.24, 0.26, "1", 40, "ratio"), 0.26).sentence()
        '4.0× less energy, at least 3.8× less (95 % interval)'
    """
    # The worse of the bound on which the grade rests and the interval's own end.
    end = math.inf if upper is None else max(upper, ratio.high)
    if ratio.value <= 1:
        # Less energy is stated as the inverse, because savings are usually read as "4x less".
        figure, meaning = times(1 / ratio.value), "less energy"
    else:
        figure, meaning = times(ratio.value), "more energy"
    if math.isinf(end):
        return Headline(figure, meaning, "no bound can be shown")
    return Headline(figure, meaning, f"{_energy_bound(end, ratio.value)} {CONFIDENCE}")


def _energy_bound(end: float, value: float) -> str:
    if end < 1:
        return f"at least {_aligned(1 / end, 1 / value)} less"
    return f"at worst {times(end, 'up')} more"


def _aligned(bound: float, point: float) -> str:
    """Format a bound with the decimals of its point estimate, rounded down, so that both are easy to compare."""
    # Otherwise "4.2x, at least 4x" would mix two precisions.
    decimals = len(times(point).rstrip("×").partition(".")[2])
    return f"{rounded(bound, decimals, 'down')}×"


def accuracy_headline(loss: Estimate, largest: float | None, quality: str = "accuracy") -> Headline:
    """Return the headline of a relative accuracy loss; a negative loss is a gain.

    Args:
        loss: loss in percent of the baseline's accuracy.
        largest: L of the grade, in percent: the upper end of the loss, not below 0.
        quality: name of the score, if it is not top-1 accuracy.

    Example:
        >>> accuracy_headline(Estimate(0.4, -0.2, 1.0, "%", 1500, "loss"), 1.0).sentence()
        '0.4 % of accuracy lost, at most 1.0 % lost (95 % interval)'
    """
    # The rounded value decides, so that a loss too small to show is not printed as "0.0 % gained".
    meaning = f"of {quality} gained" if rounded(loss.value, 1).startswith(MINUS) else f"of {quality} lost"
    figure = percent(abs(loss.value))
    end = math.inf if largest is None else max(largest, loss.high)
    if math.isinf(end):
        return Headline(figure, meaning, "no bound can be shown")
    bound = f"at most {percent(end, 'up')} lost" if end > 0 else "nothing lost"
    return Headline(figure, meaning, f"{bound} {CONFIDENCE}")
