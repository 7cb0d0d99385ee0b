"""The closed set of rules by which a figure earns a share of a credit's points."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel

Kind = Literal["linear", "at_least", "declaration"]
EVIDENCE = "evidence"
_FIGURE = r"([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)"
_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_FORMS: dict[Kind, re.Pattern[str]] = {
    "linear": re.compile(rf"linear\({_FIGURE}, (low|high), {_NUMBER}, {_NUMBER}\)"),
    "at_least": re.compile(rf"at_least\({_FIGURE}, (low|evidence), ([a-z0-9.]+)\)"),
    "declaration": re.compile(rf"declaration\({_FIGURE}\)"),
}


@dataclass(frozen=True)
class Rule:
    """Rule by which a figure earns points.

    Attributes:
        kind: ``linear`` between two values, ``at_least`` a threshold, or ``declaration``, which earns nothing.
        assessment: assessment of the figure.
        figure: name of the figure.
        end: what is read: ``low`` or ``high``, the pessimistic end of the interval, or ``evidence``, its level.
        start: value that earns nothing.
        full: value that earns all points; the threshold of ``at_least``.
        text: the rule as written.
    """

    kind: Kind
    assessment: str
    figure: str
    end: str
    start: float
    full: float
    text: str

    @property
    def name(self) -> str:
        """Name of the figure with its assessment."""
        return f"{self.assessment}.{self.figure}"

    def share(self, estimate: Estimate) -> float:
        """Return the share of the points that a figure earns, from 0 to 1; a declaration earns 0.

        Example:
            >>> rule = parse_rule("linear(efficiency.score_db, low, 0, 10)")
            >>> rule.share(Estimate(6.0, 4.5, 7.0, "dB", 40, "example"))
            0.45
        """
        if self.kind == "declaration":
            return 0.0
        if self.end == EVIDENCE:
            level = estimate.evidence
            # A direct figure is a count or a clock reading, so no meter backs it although its rank is the best.
            return float(level is not EvidenceLevel.DIRECT and level.rank <= self.full)
        value = float(getattr(estimate, self.end))
        if self.kind == "at_least":
            return float(value >= self.full)
        return min(1.0, max(0.0, (value - self.start) / (self.full - self.start)))


def parse_rule(text: str) -> Rule:
    """Parse a rule.

    Args:
        text: ``linear(ASSESSMENT.FIGURE, low|high, FROM, TO)``, ``at_least(ASSESSMENT.FIGURE, low|evidence, BAR)`` or
            ``declaration(ASSESSMENT.FIGURE)``.

    Raises:
        CertificateError: it has none of these forms, or reads the optimistic end.

    Example:
        >>> parse_rule("at_least(efficiency.energy_ratio, evidence, counter)").name
        'efficiency.energy_ratio'
    """
    for kind, form in _FORMS.items():
        if (found := form.fullmatch(text)) is not None:
            return _rule(kind, found.groups(), text)
    raise CertificateError(
        f"The rule '{text[:80]}' must be linear(ASSESSMENT.FIGURE, low|high, FROM, TO), "
        "at_least(ASSESSMENT.FIGURE, low|evidence, BAR) or declaration(ASSESSMENT.FIGURE)."
    )


def _rule(kind: Kind, parts: tuple[str, ...], text: str) -> Rule:
    assessment, _, figure = parts[0].partition(".")
    if kind == "declaration":
        return Rule(kind, assessment, figure, "low", 0.0, 1.0, text)
    end = parts[1]
    if kind == "at_least":
        return Rule(kind, assessment, figure, end, 0.0, _bar(end, parts[2], text), text)
    start, full = float(parts[2]), float(parts[3])
    # The pessimistic end counts, so that a wide interval cannot earn points that its worse end would not.
    if start == full or (end == "low") != (full > start):
        raise CertificateError(
            f"The rule '{text}' must read the pessimistic end: low if more is better, high if less is better."
        )
    return Rule(kind, assessment, figure, end, start, full, text)


def _bar(end: str, bar: str, text: str) -> float:
    try:
        return EvidenceLevel(bar).rank if end == EVIDENCE else float(bar)
    except ValueError as error:
        raise CertificateError(
            f"The bar '{bar}' of the rule '{text}' must be a number or an evidence level."
        ) from error
