"""HardSigmoid and HardSwish on integers: the codes before a gate are its own, and nothing goes back to floats."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.core.targets import TARGETS
from compress.onnx_graph.graph import Graph
from compress.quantization.post_training.calibration import ranges
from compress.quantization.post_training.hard_gates import fit_ranges
from compress.quantization.post_training.qdq import observed_names, plan, quantized

CHANNELS, SIDE = 16, 6


def gated(slope: float = 1 / 6, height: float = 0.5, scale: float = 1.0, shared: bool = False) -> onnx.ModelProto:
    """A convolution with HardSwish, a squeeze-and-excite gate, and another convolution."""
    random = np.random.default_rng(3)

    def weight(name: str, size: int, factor: float) -> onnx.TensorProto:
        shape = (CHANNELS, CHANNELS, size, size)
        return numpy_helper.from_array((random.standard_normal(shape) * factor).astype(np.float32), name)

    line = {"alpha": slope, "beta": height}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first", pads=[1] * 4),
        helper.make_node("HardSigmoid", ["a"], ["ga"], "swish", **line),
        helper.make_node("Mul", ["a", "ga"], ["b"], "swished"),
        helper.make_node("GlobalAveragePool", ["b"], ["m"], "mean"),
        helper.make_node("Conv", ["m", "w1"], ["e"], "excite"),
        helper.make_node("HardSigmoid", ["e"], ["ge"], "gate", **line),
        helper.make_node("Mul", ["b", "ge"], ["c"], "excited"),
        helper.make_node("Conv", ["c", "w2"], ["y"], "last"),
    ]
    if shared:
        nodes += [helper.make_node("Add", ["a", "y"], ["z"], "sum")]
    graph = helper.make_graph(
        nodes,
        "gated",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info("z" if shared else "y", TensorProto.FLOAT, ["n", CHANNELS, SIDE, SIDE])],
        [weight("w0", 3, 0.2 * scale), weight("w1", 1, 1.5), weight("w2", 1, 0.3)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def feeds():
    return [{"x": np.random.default_rng(5).standard_normal((4, CHANNELS, SIDE, SIDE), dtype=np.float32)}]


def rounded(model: onnx.ModelProto, name: str = "cpu-vnni") -> onnx.ModelProto:
    target, graph = TARGETS[name], Graph(model)
    chosen = plan(graph, target, "auto", ())
    found = fit_ranges(graph, ranges(graph, observed_names(graph, chosen), feeds(), "minmax", 100), target)
    return quantized(model, chosen, found, target, per_channel=True)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds()[0])[0]


def kinds_run(model: onnx.ModelProto, folder) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


@pytest.mark.parametrize("name", ["cpu-vnni", "cpu-avx2", "cpu-arm"])
def test_gates_are_read_from_the_codes_when_they_are_between_integers(name, tmp_path):
    floats = gated(scale=3)
    integers = rounded(floats, name)
    assert "HardSigmoid" not in {node.op_type for node in integers.graph.node}
    if name != "cpu-arm":  # elsewhere ONNX Runtime has no convolutions of signed codes
        kinds = kinds_run(integers, tmp_path)
        assert kinds.count("QuantizeLinear") == 1  # the input
        assert kinds.count("QLinearMul") == 2
    assert np.corrcoef(run(floats).ravel(), run(integers).ravel())[0, 1] > 0.995


@pytest.mark.parametrize("high", [0.0, 0.4, 2.9, 3.1, 8.0, 40.0])
@pytest.mark.parametrize(("slope", "height"), [(1 / 6, 0.5), (0.2, 0.5), (0.2, 0.3)])
def test_codes_represent_the_gate_when_read_with_its_scale(high, slope, height):
    model = gated(slope, height)
    low, fitted = fit_ranges(Graph(model), {"a": (-9.0, high)}, TARGETS["cpu-vnni"])["a"]
    assert low == pytest.approx(-height / slope)
    assert fitted >= high * (1 - 1e-6)
    step = (fitted - low) / 255
    zero = round(-low / step)
    codes = np.arange(256)
    top = min(255, round(1 / (slope * step)))
    wanted = np.clip(slope * step * (codes - zero) + height, 0, 1)
    found = slope * step * np.minimum(codes, top)
    largest = slope * step / 2 if height != 0.5 else 1e-6  # elsewhere 1 may lie between two codes
    np.testing.assert_allclose(found, wanted, atol=largest)


def test_gate_is_as_wide_as_its_line_when_nothing_else_reads_its_input():
    found = fit_ranges(Graph(gated()), {"e": (-90.0, 90.0)}, TARGETS["cpu-vnni"])["e"]
    assert found == pytest.approx((-3, 3), rel=0.02)


def test_range_is_unchanged_when_something_else_reads_the_input_of_a_gate():
    model = gated(shared=True)
    assert fit_ranges(Graph(model), {"a": (-9.0, 9.0)}, TARGETS["cpu-vnni"]) == {"a": (-9.0, 9.0)}
    integers = rounded(model)
    assert [node.name for node in integers.graph.node if node.op_type == "HardSigmoid"] == ["swish"]


@pytest.mark.parametrize("name", ["cuda-tensorrt", "openvino", "openvino-avx2"])
def test_range_is_unchanged_when_the_target_does_not_need_it(name):
    assert fit_ranges(Graph(gated()), {"a": (-9.0, 9.0)}, TARGETS[name]) == {"a": (-9.0, 9.0)}


def test_error_does_not_grow_when_gates_are_read_from_codes():
    floats = gated(scale=3)
    wanted = run(floats)
    target, graph = TARGETS["cpu-vnni"], Graph(floats)
    chosen = plan(graph, target, "auto", ())
    seen = ranges(graph, observed_names(graph, chosen), feeds(), "minmax", 100)
    in_floats = quantized(floats, chosen, seen, target, per_channel=True)
    assert "HardSigmoid" in {node.op_type for node in in_floats.graph.node}
    before, after = (float(np.abs(run(model) - wanted).mean()) for model in (in_floats, rounded(floats)))
    assert after <= 1.02 * before
