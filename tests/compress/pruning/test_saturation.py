"""A layer before a ReLU or a clip is fitted to what lies behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.graph import Graph
from compress.pruning import saturation
from compress.pruning.folds import Folds
from compress.pruning.least_squares import refit
from compress.pruning.moments import Misfit
from compress.pruning.onnx_units.layers import find_layers, limits_of
from compress.pruning.saturation import KeptRows, Limits, refit_before

SAMPLES, POSITIONS, INPUTS, OUTPUTS = 60, 8, 6, 4
RELU, CLIP = Limits(0.0, np.inf), Limits(0.0, 1.0)


def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, outputs that are noisy where they are negative, and weights and bias near those behind the others."""
    random = np.random.default_rng(0)
    x = random.normal(size=(SAMPLES * POSITIONS, INPUTS)).astype(np.float32)
    weights, bias = random.normal(size=(OUTPUTS, INPUTS)), random.normal(size=OUTPUTS)
    y = x @ weights.T + bias
    y = np.where(y < 0, y * random.uniform(0, 6, y.shape), y).astype(np.float32)
    return x, y, weights + 0.1 * random.normal(size=weights.shape), bias + 0.1


def _behind(limits: Limits, x: np.ndarray, y: np.ndarray, weights: np.ndarray, bias: np.ndarray | None) -> float:
    assert bias is not None
    found, wanted = (np.clip(each, limits.low, limits.high) for each in (x @ weights.T + bias, y))
    return float(np.square(found - wanted).mean())


@pytest.mark.parametrize("limits", [RELU, CLIP])
def test_error_behind_the_activation_is_less_than_by_plain_least_squares(limits: Limits, tmp_path: Path) -> None:
    x, y, weights, bias = _rows()
    folds = Folds(INPUTS, OUTPUTS)
    folds.add(x, y, SAMPLES)
    plain = refit(folds.whole(), weights, bias)
    found = refit_before(limits, KeptRows([(x, y, SAMPLES)], tmp_path), weights, bias)
    of_plain, of_found = (_behind(limits, x, y, each.weights, each.bias) for each in (plain, found))
    assert of_found < 0.5 * of_plain and found.after < found.before


def test_weights_stay_when_all_outputs_are_beyond_the_limit(tmp_path: Path) -> None:
    x, _, weights, _ = _rows()
    low = np.full(OUTPUTS, -100.0)
    y = (x @ weights.T + low + np.random.default_rng(1).normal(size=(len(x), OUTPUTS))).astype(np.float32)
    found = refit_before(RELU, KeptRows([(x, y, SAMPLES)], tmp_path), weights, low)
    np.testing.assert_allclose(found.weights, weights, atol=1e-4)


def test_weights_stay_when_there_are_too_few_rows(tmp_path: Path) -> None:
    x, y, weights, bias = _rows()
    found = refit_before(RELU, KeptRows([(x[:8], y[:8], 1)], tmp_path), weights, bias)
    assert found.weights is weights and found.after == found.before


def test_rows_are_computed_once_and_read_again(tmp_path: Path) -> None:
    x, y, _, _ = _rows()
    rows = KeptRows(iter([(x[:10], y[:10], 2), (x[10:25], y[10:25], 3)]), tmp_path)
    first, again = list(rows), list(rows)
    assert [each[2] for each in again] == [2, 3]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def _graph(nodes: list[onnx.NodeProto], opset: int = 13) -> Graph:
    constants = [
        numpy_helper.from_array(np.ones((2, 2), np.float32), "w"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(6), "six"),
    ]
    shaped = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "out")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), *nodes], "g", shaped[:1], shaped[1:], constants
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


@pytest.mark.parametrize(
    ("node", "opset", "wanted"),
    [
        (helper.make_node("Relu", ["y"], ["out"]), 13, Limits(0.0, np.inf)),
        (helper.make_node("Clip", ["y", "zero", "six"], ["out"]), 13, Limits(0.0, 6.0)),
        (helper.make_node("Clip", ["y", "", "six"], ["out"]), 13, Limits(-np.inf, 6.0)),
        (helper.make_node("Clip", ["y", "x"], ["out"]), 13, None),
        (helper.make_node("Clip", ["y"], ["out"], min=0.0, max=6.0), 6, Limits(0.0, 6.0)),
        (helper.make_node("Sigmoid", ["y"], ["out"]), 13, None),
    ],
)
def test_limits_are_those_of_the_next_operator(node: onnx.NodeProto, opset: int, wanted: Limits | None) -> None:
    graph = _graph([node], opset)
    assert limits_of(graph, find_layers(graph)[0]) == wanted


def test_there_are_no_limits_when_others_read_the_output() -> None:
    graph = _graph([helper.make_node("Relu", ["y"], ["r"]), helper.make_node("Add", ["r", "y"], ["out"])])
    assert limits_of(graph, find_layers(graph)[0]) is None


def test_error_is_that_of_the_returned_weights_behind_the_activation(tmp_path: Path) -> None:
    x, y, weights, bias = _rows()
    found = refit_before(RELU, KeptRows([(x, y, 8)], tmp_path), weights, bias)
    missed = Misfit(found.weights, found.bias)
    missed.add(x, RELU.target(y, x @ found.weights.T + found.bias))
    assert found.after == pytest.approx(missed.share, rel=1e-4) and found.after < found.before


def test_more_steps_come_closer_behind_the_activation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weights, bias = _rows()
    errors = []
    for number in (1, 2, 3):
        monkeypatch.setattr(saturation, "STEPS", number)
        (folder := tmp_path / str(number)).mkdir()
        errors.append(refit_before(RELU, KeptRows([(x, y, 8)], folder), weights, bias).after)
    assert errors[0] > errors[1] > errors[2]
