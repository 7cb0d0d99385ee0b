from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest
from markupsafe import Markup

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.profile import derive
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.present.charts.bars import LEFT, Bar, bars_chart
from certify.present.charts.draw import SIZE, standalone
from certify.present.charts.intervals import IntervalRow, intervals_chart
from certify.present.charts.palette import DARK, LIGHT
from certify.present.charts.pareto import Point, pareto_plot
from certify.present.charts.waterfall import Step, waterfall_chart
from certify.present.charts.windows import blocks_chart, windows_chart
from certify.present.text import width

SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawing: Markup | None) -> ElementTree.Element:
    assert drawing is not None
    return ElementTree.fromstring(drawing)


def texts(drawing: Markup | None) -> list[str]:
    return [node.text or "" for node in parsed(drawing).iter(f"{SVG}text")]


def points(drawing: Markup | None) -> int:
    return sum(node.attrib["d"].count("M") for node in parsed(drawing).iter(f"{SVG}path"))


def waterfall(*values: float, more_is_better: bool = False) -> Markup | None:
    steps = [Step(f"step {place}", value) for place, value in enumerate(values)]
    return waterfall_chart("w", "Title", steps, "{:g} J".format, lambda step, _: f"{step:g} J",
                           more_is_better=more_is_better)  # fmt: skip


def test_waterfall_names_each_step_and_its_sign_when_values_fall_and_rise() -> None:
    shown = texts(waterfall(10, 4, 6, 6))
    assert shown == ["step 0", "10 J", "step 1", "−6 J", "step 2", "+2 J", "step 3", "no change", "result", "6 J"]


@pytest.mark.parametrize(("more_is_better", "good"), [(False, "f-after"), (True, "f-worse")])
def test_waterfall_colours_a_fall_as_good_or_bad_as_requested(more_is_better: bool, good: str) -> None:
    bars = list(parsed(waterfall(10, 4, more_is_better=more_is_better)).iter(f"{SVG}rect"))
    assert bars[1].attrib["class"] == good


def test_waterfall_steps_are_connected() -> None:
    bars = [
        (float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in parsed(waterfall(10, 4, 2)).iter(f"{SVG}rect")
    ]
    assert bars[1][0] + bars[1][1] == pytest.approx(bars[0][0] + bars[0][1])
    assert bars[2][0] + bars[2][1] == pytest.approx(bars[1][0])
    assert bars[3][1] == pytest.approx(bars[0][1] * 0.2)


def test_drawings_are_none_when_there_is_nothing_to_draw() -> None:
    assert waterfall(3) is None
    assert waterfall(0, 0) is None
    assert bars_chart("b", "Title", []) is None
    assert intervals_chart("i", "Title", []) is None


def test_windows_chart_shows_every_window_when_evidence_is_honest(evidence: Evidence) -> None:
    drawing = windows_chart(evidence)
    legend = 4
    assert points(drawing) == len(evidence.windows) + legend
    assert {"settings", "null run", "main run", "yardstick"} <= set(texts(drawing))


def test_windows_chart_shows_time_when_there_is_no_meter(make_evidence: Callable[..., Evidence]) -> None:
    assert any(shown.endswith("ms") for shown in texts(windows_chart(make_evidence(level=None))))


def test_blocks_chart_shows_both_runs_when_they_have_a_ratio(evidence: Evidence, edition: Edition) -> None:
    estimates = derive(evidence, edition).estimates
    drawing = blocks_chart(evidence, estimates["energy_ratio"], estimates["null_ratio"])
    assert {"null run, 10 blocks", "main run, 10 blocks"} <= set(texts(drawing))
    assert points(drawing) == 20
    assert blocks_chart(evidence, None, None) is None


def test_drawing_gives_its_figures_to_screen_readers() -> None:
    row = IntervalRow("energy", Estimate(0.3, 0.2, 0.4, "1", 10, "test"), "0.2 – 0.4")
    root = parsed(intervals_chart("ratios", "Ratios", [row], reference=1.0, logarithmic=True))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "ratios-title ratios-desc"
    assert root.findtext(f"{SVG}desc") == "energy: 0.3 [0.2, 0.4]."


def test_standalone_file_has_its_own_background_and_colours() -> None:
    root = ElementTree.fromstring(standalone(bars_chart("b", "Title", [Bar("a", 1.0, "1 J")]) or Markup()))
    assert LIGHT["after"] in (root.findtext(f"{SVG}style") or "")
    assert root.find(f"{SVG}rect") is not None


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["ink", "quiet", "before", "after", "worse"])
def test_palette_has_enough_contrast_on_its_background(palette: dict[str, str], name: str) -> None:
    one, other = sorted((luminance(palette[name]), luminance(palette["paper"])))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_bars_keep_the_ends_of_their_names_when_these_are_long() -> None:
    bars = [Bar(f"QLinearConv node_Conv_of_the_block_{number}", 1.0, "1 %") for number in (101, 102)]
    names = [text for text in texts(bars_chart("b", "Title", bars)) if "…" in text]
    assert [name[-4:] for name in names] == ["_101", "_102"]
    assert all(name.startswith("QLinear") and width(name, SIZE) <= LEFT - 10 for name in names)


def test_pareto_plot_labels_do_not_overlap_when_models_are_close() -> None:
    near = [
        Point(f"model-{number}", "B", *(Estimate.exact(value + number / 1000, "1", "") for value in (0.5, 1.0)), True)
        for number in range(4)
    ]
    far = Point("other", "C", Estimate.exact(0.9, "1", ""), Estimate.exact(3.0, "1", ""), False)
    root = ElementTree.fromstring(pareto_plot([*near, far], is_ratio=True))
    rows = sorted(float(each.get("y", 0)) for each in root.iter() if "model-" in (each.text or "") and each.get("y"))
    assert len(rows) == 4
    assert all(after - before >= SIZE for before, after in itertools.pairwise(rows))
