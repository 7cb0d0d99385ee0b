"""The convolution that sees blocks of pixels gives what the one that saw pixels gave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from compress.core.onnx_session import run, session
from compress.exchange.parity import run_onnx
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.space_to_depth import SpaceToDepth


def _file(path, *, size=(8, 8), kernel=(3, 3), stride=2, pads=(1, 1, 1, 1), channels=3, **attributes):
    random = np.random.default_rng(0)
    groups = attributes.get("group", 1)
    values = random.normal(size=(4, channels // groups, *kernel)).astype(np.float32)
    weight = onnx.numpy_helper.from_array(values, "w")
    given = {"strides": [stride] * 2, "pads": list(pads), "kernel_shape": list(kernel)} | attributes
    conv = onnx.helper.make_node("Conv", ["input", "w"], ["output"], "first", **given)
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width, *sides])
        for name, width, sides in (("input", channels, size), ("output", 4, (None, None)))
    ]
    graph = onnx.helper.make_graph([conv], "g", ports[:1], ports[1:], [weight])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stride=st.integers(2, 4), kernel=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    blocks=st.tuples(st.integers(2, 4), st.integers(2, 4)), pads=st.tuples(*[st.integers(0, 4)] * 4),
    channels=st.integers(1, 4),
)  # fmt: skip
def test_outputs_stay_the_same_for_any_kernel(tmp_path, context, stride, kernel, blocks, pads, channels):
    size = tuple(stride * count for count in blocks)
    assume(all(size[i] + pads[i] + pads[i + 2] >= kernel[i] > stride for i in range(2)))
    path = _file(tmp_path / "in.onnx", size=size, kernel=kernel, stride=stride, pads=pads, channels=channels)
    made, record = SpaceToDepth().apply(path, context)
    assert record.changed
    samples = np.random.default_rng(1).normal(size=(2, channels, *size)).astype(np.float32)
    wanted, found = run_onnx(path, samples), run_onnx(made, samples)
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "kernel", "pad", "after"), [(32, 7, 3, 4), (32, 3, 1, 2), (32, 5, 2, 3), (32, 6, 2, 3)]
)
def test_usual_stems_are_rewritten(tmp_path, context, size, kernel, pad, after):
    path = _file(tmp_path / "in.onnx", size=(size, size), kernel=(kernel, kernel), pads=[pad] * 4)
    made, record = SpaceToDepth().apply(path, context)
    assert record.done["kernels"]["first"] == [f"4x3x{kernel}x{kernel}", f"4x12x{after}x{after}"]
    assert [node.op_type for node in onnx.load(made).graph.node] == ["SpaceToDepth", "Conv"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"stride": 1}, "a stride of 1"),
        ({"channels": 8}, "more than 4 input channels"),
        ({"kernel": (2, 2), "pads": (0,) * 4}, "fits one block"),
        ({"size": (9, 9)}, "not a multiple of its stride"),
        ({"channels": 4, "group": 2}, "grouped"),
        ({"dilations": [2, 2]}, "dilated"),
        ({"size": ("h", 8)}, "not fixed"),
    ],
)
def test_others_are_declined_with_the_reason(tmp_path, context, changes, why):
    path = _file(tmp_path / "in.onnx", **changes)
    made, record = SpaceToDepth().apply(path, context)
    assert made == path
    assert not record.changed
    assert why in record.declined[0].why


def test_declined_convolution_is_named_by_its_output_when_it_has_no_name(tmp_path, context):
    path = _file(tmp_path / "in.onnx", stride=1)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path)
    _, record = SpaceToDepth().apply(path, context)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    assert record.declined[0].why.startswith(f"{conv.output[0]}: ")


def test_quantized_outputs_are_the_same_and_bytes_are_moved(onnx_file, context):
    blocks, _ = SpaceToDepth().apply(onnx_file, context)
    options = {"samples": 16, "correct_bias": False, "reduce_range": True}  # so that sums are exact on every machine
    plain, _ = QuantizeStatic(**options).apply(onnx_file, context)
    feed = context.preprocess.feed(context.data.validation, range(32))
    quantized, _ = QuantizeStatic(**options).apply(blocks, context)
    found, wanted = (run(session(path, as_here=True), None, feed)[0] for path in (quantized, plain))
    assert np.allclose(found, wanted, atol=1e-5)
    nodes = {node.op_type: node for node in reversed(onnx.load(quantized).graph.node)}
    assert nodes["SpaceToDepth"].input[0] == nodes["QuantizeLinear"].output[0]


def test_convolution_stays_as_it_is_when_an_earlier_pass_chose_floats_for_it(tmp_path, context):
    path = _file(tmp_path / "in.onnx")
    for name, changed in (("first", False), ("another", True)):
        earlier = ({"float_blocks": ["stem"], "float_nodes": [name]},)
        made, record = SpaceToDepth().apply(path, replace(context, earlier=earlier))
        assert (made != path, record.changed) == (changed, changed)
    refused = SpaceToDepth().apply(path, replace(context, earlier=({"float_blocks": [], "float_nodes": ["first"]},)))[1]
    assert "first: it stays in floats" in refused.declined[0].why
