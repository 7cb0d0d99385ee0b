"""Sections on the two models: loss of each class, and operators that take the most time."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.classes import ClassLoss, class_losses
from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.nodes import NodeCost, node_costs
from certify.core.evidence import Evidence
from certify.present.charts.bars import Bar, bars_chart
from certify.present.charts.intervals import interval_cell
from certify.present.numbers import MINUS, ends, percent, quantity
from certify.present.report.sections import Section, figures

SHOWN = 20
"""Maximum number of classes on the page."""


@dataclass(frozen=True)
class ClassRow:
    """One class as text, with the drawn interval."""

    name: str
    samples: int
    before: str
    after: str
    change: str
    interval: Markup
    p: str
    is_worse: bool


@dataclass(frozen=True)
class Classes:
    """Clearest losses, the number of classes, and how many have a significant loss."""

    count: int
    worse: int
    rows: tuple[ClassRow, ...]


def classes_section(claims: EfficiencyClaims, evidence: Evidence) -> Section | None:
    """Return accuracy of each class before and after, the clearest losses first; None without predictions."""
    edition = load_edition(claims.edition.name)
    losses = class_losses(evidence, edition)
    if not losses:
        return None
    listed = losses[:SHOWN]
    # All rows share one axis, so that intervals can be compared by eye.
    reach = max(max(abs(loss.difference.low), abs(loss.difference.high)) for loss in listed)
    rows = tuple(_row(loss, reach, loss.is_worse(edition)) for loss in listed)
    worse = sum(loss.is_worse(edition) for loss in losses)
    return Section("classes", "Classes", Classes(len(losses), worse, rows))


def _row(loss: ClassLoss, reach: float, is_worse: bool) -> ClassRow:
    change = loss.difference
    return ClassRow(
        name=loss.name,
        samples=change.n,
        before=percent(100 * loss.baseline.value),
        after=percent(100 * loss.candidate.value),
        change=f"{change.value:+.1f} ({ends(change.low, change.high)})".replace("-", MINUS),
        interval=interval_cell(change, reach),
        p=f"{loss.p.value:.2g}",
        is_worse=is_worse,
    )


def nodes_section(claims: EfficiencyClaims, evidence: Evidence) -> Section | None:
    """Return the operators that take most of each model's time; None if no profile was recorded."""
    pairs = zip(("baseline", "candidate"), claims.pair(claims.names.energy_j), strict=True)
    costs = {arm: node_costs(evidence, arm, energy) for arm, energy in pairs}
    charts = figures(*((_nodes(arm, nodes), f"Most expensive operators of the {arm}") for arm, nodes in costs.items()))
    return Section("nodes", "Operators", charts) if charts else None


def _nodes(arm: str, costs: tuple[NodeCost, ...]) -> Markup | None:
    bars = [Bar(f"{cost.operator} {cost.name}".strip(), cost.share, _figure(cost)) for cost in costs]
    return bars_chart(f"nodes-{arm}", f"Operators of the {arm}", bars, is_baseline=arm == "baseline")


def _figure(cost: NodeCost) -> str:
    share = percent(100 * cost.share)
    return share if cost.energy is None else f"{share}  ~{quantity(cost.energy.value, 'J')}"
