"""Weight zero points of 1 go to the layers that were measured faster so and whose integers are right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from certify.core.estimate import Estimate
from compress.core.onnx_session import run, session
from compress.core.targets import detect
from compress.exchange.onnx_export import export
from compress.passes.quantize_static import QuantizeStatic
from compress.quantization.post_training import target_steps
from compress.quantization.post_training import zero_points as zero_points_module
from compress.quantization.post_training.zero_points import Layer, check_layer, move_zero_points, time_layer
from compress.testing.networks import CLASSES


@pytest.fixture
def exact_here(monkeypatch):
    """Where sums of bytes saturate, layers are compared in floats, since no layer would be trusted."""
    if detect().saturates:
        monkeypatch.setattr(zero_points_module, "session", lambda model, fused, as_here: session(model, fused=fused))


def estimate(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value, value - spread, value + spread, "1", 15, "a fake timer", "proxy")


@pytest.fixture
def integers(onnx_file, context) -> onnx.ModelProto:
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    return onnx.load(quantized)


def zero_points(model: onnx.ModelProto) -> dict[str, set[int]]:
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    restored = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    zeros = {node.name: restored[node.input[1]].input[2:] for node in convolutions}
    return {name: set(tensors[given[0]].ravel().tolist()) if given else {0} for name, given in zeros.items()}


@pytest.mark.usefixtures("exact_here")
def test_zero_point_is_1_when_a_layer_was_measured_to_be_faster(integers, context):
    timed: list[Layer] = []

    def timer(layer: Layer) -> Estimate:
        timed.append(layer)
        return estimate(0.8 if len(timed) == 1 else 1.2)

    samples = context.preprocess.batch(context.data.validation, range(32))
    feed = {integers.graph.input[0].name: samples}
    before = run(session(integers), None, feed)[0]
    moved, distrusted = move_zero_points(integers, timer, check_layer)
    assert set(moved.values()) == {0.8}
    assert not distrusted
    found = zero_points(integers)
    assert {name for name, zeros in found.items() if zeros == {1}} == set(moved)
    assert {name for name, zeros in found.items() if zeros == {0}} == set(found) - set(moved) != set()
    after = run(session(integers), None, feed)[0]
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.999


def test_zero_point_stays_0_when_the_gain_is_within_the_noise(integers):
    before = integers.SerializeToString()
    assert move_zero_points(integers, lambda layer: estimate(0.99, 0.02), check_layer) == ({}, {})
    assert integers.SerializeToString() == before


def test_zero_point_stays_0_when_the_integers_are_wrong_on_this_machine(integers):
    moved, distrusted = move_zero_points(integers, lambda layer: estimate(0.5), lambda layer: "off by 9 codes")
    assert not moved
    assert set(distrusted.values()) == {"off by 9 codes"}
    assert all(zeros == {0} for zeros in zero_points(integers).values())


def test_layers_of_the_same_sizes_are_timed_once(deep, context, tmp_path):
    export(deep, context.preprocess, tmp_path / "deep.onnx", classes=CLASSES)
    integers = onnx.load(QuantizeStatic(samples=16).apply(tmp_path / "deep.onnx", context)[0])
    timed: list[Layer] = []

    def timer(layer: Layer) -> Estimate:
        timed.append(layer)
        return estimate(0.5)

    moved, _ = move_zero_points(integers, timer, lambda layer: None)
    assert len(timed) < len(moved) == len(zero_points(integers))


@pytest.mark.usefixtures("exact_here")
def test_layer_is_not_trusted_when_its_integers_differ_from_its_floats(integers, monkeypatch):
    layers: list[Layer] = []
    move_zero_points(integers, lambda layer: layers.append(layer) or estimate(2.0), check_layer)
    assert check_layer(layers[0]) is None

    opened = {False: session(layers[0].moved, fused=False), True: session(layers[0].moved)}
    halved = {True: lambda codes: codes // 2, False: lambda codes: codes}
    monkeypatch.setattr(zero_points_module, "session", lambda model, fused, as_here: fused)
    monkeypatch.setattr(
        zero_points_module, "run", lambda fused, _, feed: [halved[fused](run(opened[fused], None, feed)[0])]
    )
    assert "codes with a weight zero point of 1" in (check_layer(layers[0]) or "")


def test_layer_is_timed_in_separate_processes(integers):
    layers: list[Layer] = []
    move_zero_points(integers, lambda layer: layers.append(layer) or estimate(2.0), check_layer)
    found = time_layer(layers[0])
    assert 0 < found.low <= found.value <= found.high


@pytest.mark.usefixtures("exact_here")
def test_target_amx_moves_zero_points_by_measuring_and_says_so(onnx_file, context, monkeypatch):
    monkeypatch.setattr(target_steps, "time_layer", lambda layer: estimate(0.7))
    quantized, record = QuantizeStatic(samples=16, target="cpu-amx").apply(onnx_file, context)
    assert set(record.done["zero_points"].values()) == {0.7}
    assert all(zeros == {1} for zeros in zero_points(onnx.load(quantized)).values())
