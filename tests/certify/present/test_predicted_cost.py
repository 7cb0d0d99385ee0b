"""Predictions of the passes beside the measurements of a certificate."""

from __future__ import annotations

from typing import Any

import pytest

from certify.core.estimate import Estimate
from certify.present.predicted_cost import predictions

SHARE = Estimate(0.4, 0.3, 0.5, "1", 24, "table").to_json()
FIGURES = {
    "energy_ratio": Estimate(0.42, 0.41, 0.43, "1", 9, "windows"),
    "duration_ratio": Estimate(0.62, 0.61, 0.63, "1", 9, "windows"),
}


def stated(predicted: Any) -> tuple[str, ...]:
    return predictions({"rows": [{"pass": "structured_prune", "done": {"predicted": predicted}}]}, FIGURES)


def test_prediction_stands_with_its_interval_and_threads_beside_the_measurement():
    assert stated({"energy_ratio": SHARE, "threads": 2}) == (
        "structured_prune predicted 0.400 (0.300 to 0.500) of the original energy with 2 threads; "
        "measured: 0.420 (0.410 to 0.430).",
    )
    assert stated({"latency_ratio": SHARE, "threads": 1}) == (
        "structured_prune predicted 0.400 (0.300 to 0.500) of the original time with 1 thread; "
        "measured: 0.620 (0.610 to 0.630).",
    )


def test_figure_that_the_certificate_lacks_is_not_measured():
    row = {"pass": "quantize_static", "done": {"predicted": {"energy_ratio": SHARE}}}
    assert predictions({"rows": [row]}, {}) == (
        "quantize_static predicted 0.400 (0.300 to 0.500) of the original energy; not measured.",
    )


@pytest.mark.parametrize("threads", [None, 0, -1, True, 1.5, "2", [1]])
def test_impossible_number_of_threads_is_left_out(threads):
    assert "energy; measured" in stated({"energy_ratio": SHARE, "threads": threads})[0]


@pytest.mark.parametrize("predicted", [None, 0.4, [], {}, {"energy_ratio": 0.4}, {"energy_ratio": {"value": "0.4"}}])
def test_malformed_prediction_is_left_out(predicted):
    assert stated(predicted) == ()


def test_unknown_lineage_predicts_nothing():
    assert predictions(None, FIGURES) == ()
    assert predictions({"rows": [{"pass": "distill", "done": {}}]}, FIGURES) == ()
