"""Agreement of a second measurement with the first, figure by figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from certify.assessment.outcome import Outcome
from certify.core.estimate import Estimate

AgreementOutcome = Literal["agrees", "differs", "undecided"]


@dataclass(frozen=True)
class FigureTest:
    """Test of one figure of two measurements.

    Attributes:
        name: name of the estimate.
        certified: estimate of the first measurement.
        found: estimate of the second measurement.
        difference: second minus first in percentage points; for a ratio their quotient.
        p: two-sided p-value of the hypothesis that the two are equal.
        outcome: ``undecided`` if the second neither confirms nor contradicts the first.
        sentence: the reason.
    """

    name: str
    certified: Estimate
    found: Estimate
    difference: Estimate
    p: float
    outcome: AgreementOutcome
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        estimates = {name: getattr(self, name).to_json() for name in ("certified", "found", "difference")}
        return {"name": self.name, **estimates, "p": self.p, "outcome": self.outcome, "sentence": self.sentence}


@dataclass(frozen=True)
class Agreement:
    """Comparison of a second measurement of the same pair with the first.

    Attributes:
        figures: tested figures.
        changed: digests of samples whose answer changed, by arm.
        outcome: outcome of the second measurement on its own.
    """

    figures: tuple[FigureTest, ...]
    changed: Mapping[str, tuple[str, ...]]
    outcome: Outcome

    @property
    def agrees(self) -> bool:
        """Whether every figure was confirmed."""
        return all(figure.outcome == "agrees" for figure in self.figures)

    @property
    def undecided(self) -> tuple[FigureTest, ...]:
        """Figures that were neither confirmed nor contradicted."""
        return tuple(figure for figure in self.figures if figure.outcome == "undecided")

    @property
    def decided(self) -> bool:
        """Whether the first measurement is confirmed, or contradicted on some figure."""
        return self.agrees or any(figure.outcome == "differs" for figure in self.figures)

    @property
    def text(self) -> str:
        """Printed outcome of the second measurement."""
        return self.outcome.text

    @property
    def verdict(self) -> str:
        """Answer in one sentence."""
        differing = [figure.name for figure in self.figures if figure.outcome == "differs"]
        if differing:
            return f"The two measurements DISAGREE on {', '.join(differing)}."
        if self.undecided:
            names = ", ".join(figure.name for figure in self.undecided)
            return f"Nothing contradicts the certificate, but {names} could not be confirmed."
        return "The two measurements agree."

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "agrees": self.agrees,
            "verdict": self.verdict,
            "figures": [figure.to_json() for figure in self.figures],
            "changed": {arm: list(digests) for arm, digests in self.changed.items()},
            "outcome": self.outcome.to_json(),
        }
