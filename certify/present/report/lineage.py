"""Lineage as a bill: what each pass gained, what it cost, and its break-even point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.payback import Payback
from certify.core.estimate import Estimate
from certify.present.charts.bars import Bar, bars_chart
from certify.present.charts.waterfall import Step, waterfall_chart
from certify.present.numbers import MINUS, duration, interval, percent, quantity, rounded, significant
from certify.present.predicted_cost import predictions
from certify.present.report.sections import Figure, Section, figures
from certify.present.rows import Cell

Stages = Sequence[tuple[str, Mapping[str, Any]]]
"""The baseline and every pass: name and lineage row."""


@dataclass(frozen=True)
class BillRow:
    """One stage; ``inference`` is its energy per inference, ``spent`` the cost of the stage itself."""

    name: str
    accuracy: str | None
    macs: str
    parameters: str
    weights: str
    inference: Cell
    time: str
    spent: Cell


@dataclass(frozen=True)
class Repayment:
    """Energy of passes and of later work, with evidence levels, and bounds on the inferences that repay it."""

    parts: tuple[tuple[str, str, str], ...]
    least: str
    most: str


@dataclass(frozen=True)
class Bill:
    """Template data of a lineage."""

    recipe: str
    model: str
    origin: str
    rows: tuple[BillRow, ...]
    payback: Repayment | None
    unmeasured: tuple[str, ...]
    figures: tuple[Figure, ...]
    predictions: tuple[str, ...]
    declined: tuple[str, ...]


def lineage_section(claims: EfficiencyClaims, lineage: Mapping[str, Any] | None, paid: Payback) -> Section | None:
    """Return the bill; None if the model has no lineage."""
    if lineage is None:
        return None
    stages = [("baseline", lineage["baseline"]), *((str(row["pass"]), row) for row in lineage["rows"])]
    bill = Bill(
        recipe=lineage["recipe"]["name"],
        model=lineage["model"]["spec"],
        origin=lineage["model"]["origin"],
        rows=_rows(claims, stages),
        payback=_repayment(claims, paid),
        unmeasured=tuple(name for name, joules in paid.later.items() if joules is None),
        figures=_figures(stages, paid),
        predictions=predictions(lineage, claims.figures),
        declined=tuple(
            f"{row['pass']}: {entry['what']}: {entry['why']}" for row in lineage["rows"] for entry in row["declined"]
        ),
    )
    return Section("passes", "Passes", bill)


def _figures(stages: Stages, paid: Payback) -> tuple[Figure, ...]:
    return figures(
        (_waterfall("steps-macs", "MACs", "macs", "", stages), "Multiply-adds, pass by pass"),
        (_waterfall("steps-bytes", "Bytes of the weights", "bytes", "B", stages), "Bytes of the weights, pass by pass"),
        (_accuracies(stages), "Accuracy on validation data, pass by pass"),
        (_joules(stages, paid), "Joules spent on making the model"),
    )


def _waterfall(name: str, title: str, key: str, unit: str, stages: Stages) -> Markup | None:
    def step(change: float, first: float) -> str:
        return f"{quantity(change, unit)}  ({100 * change / first:.0f} %)" if first else quantity(change, unit)

    steps = [Step(stage, float(row[key])) for stage, row in stages]
    return waterfall_chart(name, title, steps, lambda value: quantity(value, unit), step)


def _accuracies(stages: Stages) -> Markup | None:
    steps = [Step(name, row["validation_accuracy"]) for name, row in stages if row["validation_accuracy"] is not None]
    return waterfall_chart(
        "steps-accuracy",
        "Accuracy on validation data",
        steps,
        lambda share: percent(100 * share),
        lambda step, _: f"{rounded(100 * step, 1)} points",
        more_is_better=True,
    )


def _joules(stages: Stages, paid: Payback) -> Markup | None:
    costs = [*((name, _spent(row)) for name, row in stages), *paid.later.items()]
    bars = [
        Bar(name, joules.value, quantity(joules.value, "J"), (joules.low, joules.high))
        for name, joules in costs
        if joules
    ]
    return bars_chart("joules", "Joules spent on each step, with the meter's own error", bars)


def _spent(row: Mapping[str, Any]) -> Estimate | None:
    return None if row["energy_j"] is None else Estimate.from_json(row["energy_j"])


def _rows(claims: EfficiencyClaims, stages: Stages) -> tuple[BillRow, ...]:
    before, after = claims.pair(claims.names.energy_j)
    # Only the first and last model were measured; the stages between them have no energy.
    inference = {0: before, len(stages) - 1: after}
    return tuple(_row(name, row, inference.get(place)) for place, (name, row) in enumerate(stages))


def _row(name: str, row: Mapping[str, Any], inference: Estimate | None) -> BillRow:
    accuracy = row["validation_accuracy"]
    return BillRow(
        name=name,
        accuracy=None if accuracy is None else percent(100 * accuracy),
        macs=quantity(row["macs"], ""),
        parameters=quantity(row["parameters"], ""),
        weights=quantity(row["bytes"], "B"),
        inference=_joule_cell(inference),
        time=duration(row["seconds"]),
        spent=_joule_cell(_spent(row)),
    )


def _joule_cell(joules: Estimate | None) -> Cell:
    return Cell() if joules is None else Cell(quantity(joules.value, "J"), interval(joules, "J"))


def _repayment(claims: EfficiencyClaims, paid: Payback) -> Repayment | None:
    """Return how many inferences repay the joules to date; None for a refusal, which claims no saving."""
    count = paid.inferences
    if count is None or claims.refused:
        return None
    least, most = (
        # Rounded outward before grouping. The minus becomes ASCII, because `float` does not read the typographic one.
        "unbounded" if math.isinf(end) else f"{round(float(significant(end, 2, way).replace(MINUS, '-'))):,}"
        for end, way in ((count.low, "down"), (count.high, "up"))
    )
    parts = tuple((name, quantity(one.value, "J"), one.evidence.value) for name, one in paid.parts.items() if one)
    return Repayment(parts, least, most)
