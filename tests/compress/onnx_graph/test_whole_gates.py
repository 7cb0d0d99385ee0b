"""Gates in the form that OpenVINO fuses: HardSwish whole, HardSigmoid as a Clip, no rounding before either."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.whole_gates import join_hard_swishes, leave_to_convolutions, write_as_clips

SHAPE = ["n", 3, 4, 4]


def split_swish(alpha: float = 1 / 6, opset: int = 17) -> onnx.ModelProto:
    nodes = [
        helper.make_node("HardSigmoid", ["x"], ["g"], "gate", alpha=alpha, beta=0.5),
        helper.make_node("Mul", ["g", "x"], ["y"], "product"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    graph = helper.make_graph(nodes, "swish", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto) -> np.ndarray:
    x = 4 * np.random.default_rng(0).standard_normal((2, 3, 4, 4), dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_swish_is_fused_when_it_was_split():
    model = split_swish()
    before = run(model)
    assert join_hard_swishes(model) == 1
    assert [node.op_type for node in model.graph.node] == ["HardSwish"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "opset"), [(0.2, 17), (1 / 6, 13)])
def test_swish_stays_split_when_the_function_differs_or_the_operator_set_has_none(alpha, opset):
    model = split_swish(alpha, opset)
    assert join_hard_swishes(model) == 0
    assert len(model.graph.node) == 2


def test_gate_becomes_a_clip_of_the_same_values_when_its_slope_is_a_sixth():
    model = split_swish()
    before = run(model)
    assert write_as_clips(model) == 1
    assert [node.op_type for node in model.graph.node] == ["Add", "Clip", "Mul", "Mul"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "freed"), [("Conv", 1), ("Relu", 0)])
def test_rounding_is_removed_when_it_is_between_a_convolution_and_its_gate(kind, freed):
    inputs = ["x", "w"] if kind == "Conv" else ["x"]
    nodes = [
        helper.make_node(kind, inputs, ["a"], "before"),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"], "round"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "restore"),
        helper.make_node("HardSwish", ["d"], ["y"], "swish"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    tensors = [
        numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.uint8(9), "zero"),
    ]
    graph = helper.make_graph(nodes, "rounded", ports[:1], ports[1:], tensors[kind != "Conv" :])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert leave_to_convolutions(model) == freed
    assert [node.op_type for node in model.graph.node].count("QuantizeLinear") == 1 - freed
    run(model)
