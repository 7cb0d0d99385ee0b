"""Printable claims of a privacy audit, and where they contradict the privacy statement about the same model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from certify.assessment.claims import Claims
from certify.assessments.privacy_audit.figures import CLAIMED, SHOWN
from certify.core.estimate import Estimate
from certify.core.finding import Finding

PRIVACY = "privacy"
"""Assessment that claims an epsilon."""
STATED, DELTA = "epsilon_stated", "delta"
"""Its figures: the claimed epsilon, and the delta for which it holds."""
TOLERANCE = 1e-9
"""Relative difference of two epsilons that is only rounding."""


@dataclass(frozen=True, kw_only=True)
class AuditClaims(Claims):
    """Claims of a privacy audit.

    Attributes:
        delta: delta for which the canaries bound epsilon; None without canaries.
    """

    delta: float | None

    def beside(self, others: Sequence[Claims]) -> tuple[Finding, ...]:
        """Compare the canaries' bound, and the claim that they were held against, with the privacy statement.

        A claim for one delta holds for every larger one too; for a smaller one nothing is compared.
        """
        claimed = [one.figures for one in others if one.assessment == PRIVACY and not one.refused]
        return tuple(finding for figures in claimed for finding in self._against(figures))

    def _against(self, stated: Mapping[str, Estimate]) -> Iterator[Finding]:
        epsilon, delta = stated.get(STATED), stated.get(DELTA)
        if self.delta is None or epsilon is None or delta is None or self.delta < delta.value:
            return
        most, words = epsilon.value * (1 + TOLERANCE), f"the privacy statement claims {epsilon.value:g}"
        shown, tested = self.figures.get(SHOWN), self.figures.get(CLAIMED)
        if shown is not None and shown.value > most:
            yield Finding("claim_refuted", "fail", f"Canaries show epsilon of at least {shown.value:.3g}, and {words}.")
        if tested is not None and tested.value > most:
            yield Finding("claim_tested", "fail", f"The audit tested a claim of epsilon {tested.value:g}, and {words}.")
