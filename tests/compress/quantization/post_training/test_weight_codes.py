"""Codes of weights are those of ONNX Runtime's quantizer, without its loop over channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quant_utils

from compress.core.targets import TARGETS
from compress.onnx_graph.graph import Graph
from compress.quantization.post_training.qdq import observed_names, plan, quantized

CHANNELS = 1500
"""Enough for weights of more than 4 KB, which have stand-ins."""


def network(kind: str) -> onnx.ModelProto:
    """A layer with one silent channel and one that is nearly so, beside others of very different sizes."""
    random = np.random.default_rng(0)
    weight = (random.standard_normal((CHANNELS, 3)) * np.logspace(-3, 3, CHANNELS)[:, None]).astype(np.float32)
    weight[4], weight[5] = 0, 1e-40
    tensors = {"w": weight if kind == "Gemm" else weight.T.copy()}
    options = {"transB": 1} if kind == "Gemm" else {}
    if kind == "Conv":
        tensors = {"w": weight.reshape(CHANNELS, 3, 1, 1)}
    if kind != "MatMul":
        tensors["b"] = random.standard_normal(CHANNELS).astype(np.float32)
    shape = {"Conv": ["n", 3, 2, 2], "Gemm": ["n", 3], "MatMul": ["n", 2, 3]}[kind]
    node = helper.make_node(kind, ["x", *tensors], ["y"], "layer", **options)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, each) for name, each in (("x", shape), ("y", None))]
    graph = helper.make_graph(
        [node], "net", ends[:1], ends[1:], [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def integers(model: onnx.ModelProto, *, reduce_range: bool = False, per_channel: bool = True) -> Graph:
    target = replace(TARGETS["cpu-vnni"], reduce_range=reduce_range)
    chosen = plan(Graph(model), target, "all", ())
    ranges = dict.fromkeys(observed_names(Graph(model), chosen), (-1.0, 1.0))
    return Graph(quantized(model, chosen, ranges, target, per_channel=per_channel))


def rounded_by_onnxruntime(weight: np.ndarray, axis: int, *, reduce_range: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scales and codes as the quantizer computes them for one channel after the other."""
    scales, codes = [], []
    for row in np.moveaxis(weight, axis, 0):
        zero, scale = quant_utils.compute_data_quant_params(row.ravel(), TensorProto.INT8, True, reduce_range)
        scales.append(scale)
        codes.append(quant_utils.quantize_nparray(TensorProto.INT8, row, scale, zero))
    return np.array(scales), np.moveaxis(np.array(codes), 0, axis)


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("kind", ["Conv", "Gemm", "MatMul"])
def test_scales_and_codes_are_those_of_onnxruntime(kind: str, reduce_range: bool) -> None:
    model = network(kind)
    graph = integers(model, reduce_range=reduce_range)
    (layer,) = [node for node in graph.nodes if node.op_type == kind]
    restored = graph.producers[layer.input[1]]
    wanted = rounded_by_onnxruntime(Graph(model).constant("w"), 1 if kind == "MatMul" else 0, reduce_range=reduce_range)
    for name, values in zip((restored.input[1], restored.input[0]), wanted, strict=True):
        np.testing.assert_array_equal(graph.constant(name), values, strict=True)
    assert "w" not in graph.tensors
    onnx.checker.check_model(graph.model, full_check=True)


def test_weight_with_a_scale_for_all_channels_is_rounded_too() -> None:
    model = network("Gemm")
    graph = integers(model, per_channel=False)
    restored = next(node for node in graph.nodes if node.input[0] == "w_quantized")
    scale, codes = (graph.constant(restored.input[place]) for place in (1, 0))
    wanted = np.abs(Graph(model).constant("w")).max() / 127
    assert scale == pytest.approx(wanted)
    np.testing.assert_array_equal(codes, np.rint(Graph(model).constant("w") / scale))


def test_quantizer_of_onnxruntime_gets_one_element_per_channel(monkeypatch) -> None:
    from onnxruntime.quantization import qdq_quantizer

    seen: list[int] = []

    class Watched(qdq_quantizer.QDQQuantizer):  # type: ignore[misc]
        def __init__(self, model: onnx.ModelProto, *rest: object) -> None:
            seen.append(sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if tensor.name == "w"))
            super().__init__(model, *rest)

    monkeypatch.setattr(qdq_quantizer, "QDQQuantizer", Watched)
    for loop in ("compute_data_quant_params", "quantize_onnx_initializer"):
        monkeypatch.setattr(qdq_quantizer, loop, lambda *given: pytest.fail("a channel was rounded alone"))
    integers(network("MatMul"))
    assert seen == [CHANNELS]


def test_floats_of_a_weight_stay_when_its_layer_does() -> None:
    model = network("MatMul")
    target = TARGETS["cpu-vnni"]
    chosen = plan(Graph(model), target, "all", ("layer",))
    graph = Graph(quantized(model, chosen, {}, target, per_channel=True))
    np.testing.assert_array_equal(graph.constant("w"), Graph(model).constant("w"))
