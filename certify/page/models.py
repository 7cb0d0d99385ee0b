"""The two models: what each class lost, and which operators the time goes to."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from certify.judge.classes import ClassLoss, class_losses
from certify.judge.edition import load_edition
from certify.judge.nodes import NodeCost, node_costs
from certify.page.papers import Papers
from certify.page.parts import Section, figure, figures, table
from certify.present.charts.bars import Bar, bars_chart
from certify.present.charts.intervals import interval_cell
from certify.present.numbers import percent, quantity, rounded
from certify.present.svg import tag

SHOWN = 20
"""Most classes that the page lists."""


def classes_section(papers: Papers) -> Section | None:
    """Accuracy of each class before and after, the clearest losses first; None without predictions."""
    edition = load_edition(papers.certificate.predicate["edition"]["name"])
    losses = class_losses(papers.evidence, edition)
    if not losses:
        return None
    shown = losses[:SHOWN]
    reach = max(max(abs(one.difference.low), abs(one.difference.high)) for one in shown)
    rows = [
        (one.name, str(one.difference.n), percent(100 * one.baseline.value), percent(100 * one.candidate.value),
         _change(one), interval_cell(one.difference, reach), _chance(one, one.is_worse(edition)))
        for one in shown
    ]  # fmt: skip
    head = ("class", "samples", "before", "after", "change in points", "interval", "p")
    worse = sum(one.is_worse(edition) for one in losses)
    return Section("classes", "Classes", (tag("p", *_told(len(losses), worse)), table(head, rows)))


def _told(count: int, worse: int) -> Iterator[str]:
    """What the table shows, and how it allows for so many comparisons."""
    yield f"{worse} of {count} classes lost more than chance explains (McNemar's test, corrected by Holm). "
    if count > SHOWN:
        yield f"The {SHOWN} clearest losses are listed. "
    yield f"The intervals hold for all {count} classes at once, so each is wide."


def _change(one: ClassLoss) -> str:
    change = one.difference
    ends = f"{rounded(change.low, 1, 'down')} to {rounded(change.high, 1, 'up')}"
    return f"{change.value:+.1f} ({ends})".replace("-", "−")


def _chance(one: ClassLoss, is_worse: bool) -> Markup:
    return tag("span", f"{one.p.value:.2g}{' worse' if is_worse else ''}", class_="fail" if is_worse else None)


def nodes_section(papers: Papers) -> Section | None:
    """The operators that take most of the time of each model; None where no profile was recorded."""
    estimates = papers.certificate.profile.estimates
    costs = {
        arm: node_costs(papers.evidence, arm, estimates.get(f"energy_j_{arm}")) for arm in ("baseline", "candidate")
    }
    drawn = figures(*(figure(_nodes(arm, found), f"The dearest of the {arm}") for arm, found in costs.items()))
    told = (
        "Share of the time in operators, by the runtime's own profile, and as much of an inference's joules. A share "
        "of time is not a share of energy: this shows where to look, and enters no grade."
    )
    return None if drawn is None else Section("nodes", "Operators", (tag("p", told), drawn))


def _nodes(arm: str, costs: tuple[NodeCost, ...]) -> Markup | None:
    bars = [Bar(f"{cost.operator} {cost.name}".strip(), cost.share, _figure(cost)) for cost in costs]
    return bars_chart(f"nodes-{arm}", f"Operators of the {arm}", bars, is_baseline=arm == "baseline")


def _figure(cost: NodeCost) -> str:
    share = percent(100 * cost.share)
    return share if cost.energy is None else f"{share}  ~{quantity(cost.energy.value, 'J')}"
