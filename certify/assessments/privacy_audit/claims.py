"""Printable claims of a privacy audit, and where they contradict the privacy statement about the same model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from certify.assessment.claims import REFUTED, Claims, Costs
from certify.assessments.privacy_audit.figures import CLAIMED, EARLIER, EARLIER_ENERGY, ENERGY, SHOWN
from certify.assessments.privacy_audit.outcome import is_valid
from certify.core.accounting import refutation, refutes_claim
from certify.core.finding import Finding

ACTIVITY = "privacy audit"
"""Key of the audit in the costs of a model."""
EARLIER_ACTIVITY = "earlier privacy audits"
"""Key of the audits before it."""
PRIVACY = "privacy"
"""Assessment that claims an epsilon."""
STATED, DELTA = "epsilon_stated", "delta"
"""Its figures: the claimed epsilon, and the delta for which it holds."""


@dataclass(frozen=True, kw_only=True)
class AuditClaims(Claims):
    """Claims of a privacy audit.

    Attributes:
        delta: delta for which the canaries bound epsilon; None without canaries.
        audited_lineage: hex SHA-256 of the lineage whose recipe was repeated; None without one.
    """

    delta: float | None
    audited_lineage: str | None

    def later_costs(self, lineage: str) -> Costs:
        """Return the joules of this audit and of the earlier ones, if this lineage was audited."""
        if lineage != self.audited_lineage:
            return {}
        earlier = {EARLIER_ACTIVITY: self.figures.get(EARLIER_ENERGY)} if EARLIER in self.figures else {}
        return {ACTIVITY: self.figures.get(ENERGY), **earlier}

    def beside(self, others: Sequence[Claims]) -> tuple[Finding, ...]:
        """Compare the canaries' bound, and the claim that they were held against, with the privacy statement.

        A claim for one delta holds for every larger one too; for a smaller one nothing is compared.
        """
        refuted = (Finding(REFUTED, "fail", sentence) for statement in others if (sentence := self.refutes(statement)))
        return (*refuted, *(finding for statement in others for finding in self._tested(statement)))

    def refutes(self, other: Claims) -> str:
        """Return the canaries' bound if the audit is valid and the bound is above the privacy statement's claim."""
        bound = self.figures.get(SHOWN)
        if bound is None or not is_valid(self.findings) or not self._above(bound.value, other):
            return ""
        return refutation(bound.value, other.figures[STATED].value)

    def _tested(self, other: Claims) -> Iterator[Finding]:
        tested = self.figures.get(CLAIMED)
        if tested is not None and self._above(tested.value, other):
            stated = other.figures[STATED].value
            note = f"The audit tested a claim of epsilon {tested.value:g}, and the privacy statement claims {stated:g}."
            yield Finding("claim_tested", "fail", note)

    def _above(self, epsilon: float, other: Claims) -> bool:
        """Return whether an epsilon at the canaries' delta is above the claim of a privacy statement."""
        if other.assessment != PRIVACY or other.refused or self.delta is None:
            return False
        claimed, delta = other.figures.get(STATED), other.figures.get(DELTA)
        if claimed is None or delta is None:
            return False
        return refutes_claim(epsilon, self.delta, claimed.value, delta.value)
