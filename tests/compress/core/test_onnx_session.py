"""Sessions of the maker: sums of bytes are exact on every processor, and constants that nothing reads do no harm."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.core import onnx_file, onnx_session
from compress.core.onnx_session import run, session
from compress.core.targets import TARGETS, detect

WIDTH = 64


def product() -> onnx.ModelProto:
    """Unsigned bytes of 255 times signed ones of 127: each sum of two products exceeds 16 bits."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["w", "step", "signed"], ["weights"]),
        helper.make_node("MatMul", ["values", "weights"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "wide", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "wide", "zero"], ["y"]),
    ]
    constants = {
        "step": np.float32(1), "zero": np.uint8(0), "signed": np.int8(0), "wide": np.float32(255 * 127 * WIDTH / 200),
        "w": np.full((WIDTH, 8), 127, np.int8),
    }  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "product", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_sums_of_bytes_are_exact_unless_those_of_this_processor_are_requested():
    feed, wanted = {"x": np.full((2, WIDTH), 255, np.float32)}, 255 * 127 * WIDTH
    assert run(session(product()), None, feed)[0] == pytest.approx(wanted)
    here = run(session(product(), as_here=True), None, feed)[0]
    assert detect().saturates or np.allclose(here, wanted, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "floats"),
    [("cpu-avx2", {}, True), ("cpu-avx2", {"as_here": True}, False), ("cpu-vnni", {}, False), ("cpu-arm", {}, False)],
)
def test_pairs_compute_in_floats_where_sums_saturate(name, options, floats, monkeypatch):
    monkeypatch.setattr(onnx_session, "detect", lambda: TARGETS[name])
    found = session(product(), **options).get_session_options()
    assert found.get_session_config_entry("session.disable_quant_qdq") == str(int(floats))


def test_large_constant_that_nothing_reads_does_not_stop_the_runtime(monkeypatch):
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    model, feed = product(), {"x": np.ones((2, WIDTH), np.float32)}
    wanted = run(session(model), None, feed)[0]
    model.graph.initializer.append(numpy_helper.from_array(np.ones((512, 512), np.float32), "unread"))
    assert np.array_equal(run(session(model), None, feed)[0], wanted)
