from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from certify.core.estimate import Estimate
from certify.present.charts.draw import WIDTH, standalone
from certify.present.charts.workloads import Series, workloads
from certify.present.label import render


def _joules(value: float, spread: float = 0.1) -> Estimate:
    return Estimate(value, value * (1 - spread), value * (1 + spread), "J", 10, "test")


SMALL = Series("small.onnx", ((1, _joules(0.8)), (8, _joules(0.5)), (32, _joules(0.45))), ((0.0, 99.0), (4.2, 103.0)))
LARGE = Series("a < b & c", ((1, _joules(2.0, 3.0)), (8, _joules(1.5))), ((2.1, 101.0),))


def test_chart_is_complete_when_names_contain_markup() -> None:
    drawing = standalone(workloads("profile", "net <1>", [SMALL, LARGE]))
    root = ElementTree.fromstring(drawing)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"net <1>", "small.onnx", "a < b & c", "1", "8", "32", "batch (samples per inference)"} <= set(words)
    assert render(drawing).startswith(b"\x89PNG")


def test_figures_are_given_to_screen_readers() -> None:
    drawing = workloads("profile", "net", [SMALL])
    assert "0.8 [0.72, 0.88] J at batch 1" in drawing


@pytest.mark.parametrize("series", [[SMALL], [LARGE], [SMALL, LARGE], [Series("t", ((4, _joules(1e-9)),), ())]])
def test_all_marks_are_inside_the_chart(series: list[Series]) -> None:
    drawing = workloads("profile", "net", series)
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawing)[1])  # type: ignore[index]
    points = re.findall(r"M([\d.-]+) ([\d.-]+)h", drawing)
    assert len(points) >= sum(len(one.costs) + len(one.windows) + 1 for one in series)
    assert all(0 < float(x) < WIDTH and 0 < float(y) < height for x, y in points)


def test_workloads_are_named_where_they_begin_when_there_are_several() -> None:
    starts = ((0.0, "batch 1"), (2.0, "batch 8"), (4.19, "no room"))
    drawing = workloads("profile", "net", [SMALL], starts)
    assert "batch 1<" in drawing and "batch 8<" in drawing and "no room" not in drawing


def test_series_differ_in_shape_when_there_are_two() -> None:
    drawing = workloads("profile", "net", [SMALL, LARGE])
    assert 'stroke-linecap="round"' in drawing and 'stroke-linecap="square"' in drawing
