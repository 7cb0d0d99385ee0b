"""Loops become their trips, kernels lose their borders, and values are read off earlier ones; the answers stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from certify.model_file.onnx_graph.branches import branches, without
from certify.model_file.onnx_graph.equal_values import comparable_values, equal_values, replaced
from certify.model_file.onnx_graph.trimming import trim_kernels
from certify.model_file.onnx_graph.unrolling import unroll

X = np.random.default_rng(0).standard_normal((1, 2, 7, 9)).astype(np.float32)


def model(nodes: list[onnx.NodeProto], opset: int = 17, **weights: np.ndarray) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(one), name) for name, one in weights.items()]
    shapes = {"x": X.shape, "y": [None] * 4}
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def run(made: onnx.ModelProto) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(made).run(None, {"x": X})[0])


def looping(last: onnx.NodeProto, collects: bool = False) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    outputs = [info("on", TensorProto.BOOL, []), info("more", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("Cast", ["i"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["v", "w"], ["part"]),
        helper.make_node("Add", ["part", "number"], ["more"]), helper.make_node("Identity", ["more"], ["each"]), last,
    ]  # fmt: skip
    body = helper.make_graph(
        nodes, "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, None)],
        [*outputs, *([info("each", TensorProto.FLOAT, None)] if collects else [])],
        [numpy_helper.from_array(np.float32(0.5), "w")],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["trips", "start", "x"], ["y", *(["all"] if collects else [])], body=body)
    return model([loop], trips=np.int64(3), start=np.bool_(True), limit=np.float32(1e9))


def test_unroll_replaces_a_loop_by_its_trips() -> None:
    original = looping(helper.make_node("Identity", ["go"], ["on"]))
    before = run(original)
    assert unroll(original.graph) == ["y"]
    assert "Loop" not in {node.op_type for node in original.graph.node}
    onnx.checker.check_model(original, full_check=True)
    np.testing.assert_allclose(run(original), before, rtol=1e-6)


@pytest.mark.parametrize(
    ("last", "collects"),
    [
        (helper.make_node("Less", ["number", "limit"], ["on"]), False),
        (helper.make_node("Identity", ["go"], ["on"]), True),
    ],
)
def test_loop_is_kept_when_data_may_end_it_or_it_collects_outputs(last: onnx.NodeProto, collects: bool) -> None:
    original = looping(last, collects)
    assert unroll(original.graph) == [] and original.graph.node[0].op_type == "Loop"


@pytest.mark.parametrize("pads", [[3, 3, 3, 3], [0, 1, 4, 5], [0, 0, 0, 0]])
@pytest.mark.parametrize("attributes", [{}, {"strides": [2, 1]}, {"dilations": [1, 2]}])
def test_trim_kernels_preserves_the_output_of_a_convolution(pads: list[int], attributes: dict[str, list[int]]) -> None:
    weight = np.zeros((4, 2, 5, 3), dtype=np.float32)
    weight[:, :, 1:3, 1:] = np.random.default_rng(1).standard_normal((4, 2, 2, 2))
    original = model([helper.make_node("Conv", ["x", "w"], ["y"], pads=pads, **attributes)], w=weight)
    before = run(original)
    assert trim_kernels(original) == ["y (5x3 to 2x2)"]
    onnx.checker.check_model(original, full_check=True)
    np.testing.assert_allclose(run(original), before, atol=1e-5)


@pytest.mark.parametrize(
    ("weight", "settings"),
    [
        (np.ones((1, 2, 3, 3)), {}),
        (np.pad(np.ones((1, 2, 1, 1)), [(0, 0)] * 2 + [(1, 1)] * 2, constant_values=0.01), {}),
        (np.pad(np.ones((1, 2, 1, 1)), [(0, 0)] * 2 + [(1, 1)] * 2), {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_kernel_is_kept_when_its_borders_matter(weight: np.ndarray, settings: dict[str, str]) -> None:
    original = model([helper.make_node("Conv", ["x", "w"], ["y"], **settings)], w=weight.astype(np.float32))
    assert trim_kernels(original) == []


def test_small_channel_keeps_its_taps_when_another_is_large() -> None:
    weight = np.zeros((2, 2, 3, 3), dtype=np.float32)
    weight[0, :, 1, 1], weight[1] = 1e6, 1e-3
    assert trim_kernels(model([helper.make_node("Conv", ["x", "w"], ["y"])], w=weight)) == []


def test_equal_values_finds_multiples_and_ignores_constants_and_others() -> None:
    rng = np.random.default_rng(2)
    first, other = rng.standard_normal((2, 8, 16))
    looked_at = np.concatenate([first, -2 * first, other, np.zeros_like(first), first + 0.2 * other, first], axis=1)
    kinds = dict.fromkeys(("a", "b", "c", "zero", "d"), (1, 4)) | {"e": (1, 2, 2)}
    found = equal_values(kinds, looked_at, 0.05)
    assert set(found) == {"b"} and found["b"].name == "a" and found["b"].factor == pytest.approx(-2)
    assert set(equal_values(kinds, looked_at, 0.3)) == {"b", "d"}
    assert equal_values(dict.fromkeys(kinds, (1, 4)), looked_at, 0.05)["e"].factor == 1.0


def test_replaced_keeps_the_output_and_drops_its_inputs() -> None:
    original = model(
        [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["x", "w2"], ["b"]),
         helper.make_node("Add", ["a", "b"], ["y"])],
        w=np.ones((3, 2, 1, 1), np.float32), w2=2 * np.ones((3, 2, 1, 1), np.float32), w3=np.ones(9, np.float32),
    )  # fmt: skip
    before = run(original)
    values = {name: ReferenceEvaluator(_with_output(original, name)).run(None, {"x": X})[-1] for name in "aby"}
    looked_at = np.concatenate([values[name].reshape(1, -1) for name in "aby"], axis=1)
    kinds = {name: kind for name, kind in comparable_values(original, X.shape[1:]).items() if name != "x"}
    lean = replaced(original, equal_values(kinds, looked_at, 0.01))
    onnx.checker.check_model(lean, full_check=True)
    np.testing.assert_allclose(run(lean), before, rtol=1e-5)
    assert [node.op_type for node in lean.graph.node] == ["Conv", "Mul"]
    assert {tensor.name for tensor in lean.graph.initializer} == {"w", "y.factor"}


def _with_output(made: onnx.ModelProto, name: str) -> onnx.ModelProto:
    more = onnx.ModelProto()
    more.CopyFrom(made)
    more.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return more


def test_branches_are_joined_values_beside_the_path_of_others() -> None:
    original = model(
        [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["a", "v"], ["b"]),
         helper.make_node("Conv", ["b", "v"], ["c"]), helper.make_node("Concat", ["a", "c"], ["d"], axis=1),
         helper.make_node("Relu", ["d"], ["y"])],
        w=np.ones((3, 2, 1, 1), np.float32), v=np.ones((3, 3, 1, 1), np.float32),
    )  # fmt: skip
    assert branches(original.graph) == ["c"]  # nothing leads around a
    lean = without(original, "c", (1, 3, 7, 9), TensorProto.FLOAT)
    onnx.checker.check_model(lean, full_check=True)
    assert [node.op_type for node in lean.graph.node] == ["Conv", "Concat", "Relu"]
    np.testing.assert_array_equal(run(lean)[:, :3], run(original)[:, :3])
    assert not run(lean)[:, 3:].any()
