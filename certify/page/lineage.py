"""Lineage as a bill: what each pass gave, what it cost to make, and when that is paid back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from certify.estimate import Estimate
from certify.judge.payback import compression_energy, payback_inferences
from certify.page.papers import Papers
from certify.page.parts import Section, bullets, figure, figures, table, two_lines
from certify.present.charts.bars import Bar, bars_chart
from certify.present.charts.waterfall import Step, waterfall_chart
from certify.present.numbers import interval, percent, quantity, rounded, significant
from certify.present.svg import tag

Made = Sequence[tuple[str, Mapping[str, Any]]]
"""The baseline and every pass: its name and its row of the lineage."""

_HOW_COUNTED = (
    "MACs are of one sample. The weights' bytes are of each stage's own form, and the first pass on the ONNX graph "
    "includes what the export changed. Energy per inference was measured of the first and the last model only."
)


def lineage_section(papers: Papers) -> Section | None:
    """The bill; None for a model whose making is not known."""
    lineage = papers.lineage
    if lineage is None:
        return None
    made = [("baseline", lineage["baseline"]), *((str(row["pass"]), row) for row in lineage["rows"])]
    drawn = figures(
        figure(_waterfall("steps-macs", "MACs", "macs", "", made), "Multiply-adds, pass by pass"),
        figure(
            _waterfall("steps-bytes", "Bytes of the weights", "bytes", "B", made), "Bytes of the weights, pass by pass"
        ),
        figure(_accuracies(made), "Accuracy on validation data, pass by pass"),
        figure(_joules(made), "Joules spent on making it"),
    )
    told = (
        f"Made by the recipe {lineage['recipe']['name']} from {lineage['model']['spec']}: {lineage['model']['origin']}."
    )
    counted = tag("p", _HOW_COUNTED, class_="quiet")
    paid = _paid_back(papers, lineage)
    content = (tag("p", told), _bill(papers, made), counted, paid, drawn, *_declined(lineage))
    return Section("passes", "Passes", content)


def _waterfall(
    name: str, title: str, key: str, unit: str, made: Sequence[tuple[str, Mapping[str, Any]]]
) -> Markup | None:
    steps = [Step(pass_name, float(row[key])) for pass_name, row in made]
    return waterfall_chart(
        name, title, steps, lambda value: quantity(value, unit), lambda step, first: _step(step, first, unit)
    )


def _step(step: float, first: float, unit: str) -> str:
    return f"{quantity(step, unit)}  ({100 * step / first:.0f} %)" if first else quantity(step, unit)


def _accuracies(made: Made) -> Markup | None:
    steps = [Step(name, row["validation_accuracy"]) for name, row in made if row["validation_accuracy"] is not None]
    return waterfall_chart(
        "steps-accuracy",
        "Accuracy on validation data",
        steps,
        lambda share: percent(100 * share),
        lambda step, _: f"{rounded(100 * step, 1)} points",
        more_is_better=True,
    )


def _joules(made: Made) -> Markup | None:
    spent = [(name, _spent(row)) for name, row in made]
    bars = [
        Bar(name, joules.value, quantity(joules.value, "J"), (joules.low, joules.high))
        for name, joules in spent
        if joules
    ]
    return bars_chart("joules", "Joules spent on each pass, with the meter's own error", bars)


def _spent(row: Mapping[str, Any]) -> Estimate | None:
    return None if row["energy_j"] is None else Estimate.from_json(row["energy_j"])


def _bill(papers: Papers, made: Made) -> Markup:
    estimates = papers.certificate.profile.estimates
    inference = {0: estimates.get("energy_j_baseline"), len(made) - 1: estimates.get("energy_j_candidate")}
    rows = []
    for place, (name, row) in enumerate(made):
        accuracy, spent, joules = row["validation_accuracy"], _spent(row), inference.get(place)
        rows.append((
            name,
            None if accuracy is None else percent(100 * accuracy),
            quantity(row["macs"], ""),
            quantity(row["parameters"], ""),
            quantity(row["bytes"], "B"),
            None if joules is None else two_lines(quantity(joules.value, "J"), interval(joules, "J")),
            quantity(row["seconds"], "s"),
            None if spent is None else two_lines(quantity(spent.value, "J"), interval(spent, "J")),
        ))  # fmt: skip
    head = (
        "",
        "validation accuracy",
        "MACs",
        "parameters",
        "weights",
        "energy per inference",
        "time spent",
        "energy spent",
    )
    return table(head, rows)


def _paid_back(papers: Papers, lineage: Mapping[str, Any]) -> Markup | None:
    """How many inferences repay the joules of the passes; None for a refusal, whose saving is no claim."""
    spent = compression_energy(lineage)
    count = payback_inferences(spent, papers.certificate.profile.estimates)
    if spent is None or count is None or papers.certificate.predicate["outcome"] != "graded":
        return None
    ends = [
        "without bound" if math.isinf(end) else f"{round(float(significant(end, 2, way))):,}"
        for end, way in ((count.low, "down"), (count.high, "up"))
    ]
    return tag(
        "p",
        f"The passes took {quantity(spent.value, 'J')} ({spent.evidence.value}). Had they run on the device of the "
        f"certificate, they would be paid back after {ends[0]} to {ends[1]} inferences.",
    )


def _declined(lineage: Mapping[str, Any]) -> Iterator[Markup | None]:
    declined = [
        f"{row['pass']}: {entry['what']}: {entry['why']}" for row in lineage["rows"] for entry in row["declined"]
    ]
    if declined:
        yield tag("h3", "What the passes left alone")
        yield bullets(declined)
