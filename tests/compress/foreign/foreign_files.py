"""Small ONNX files as other tools write them: old, edited, with control flow, or wrong."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.testing.networks import CLASSES, SIZE


def _floats(*shape):
    values = np.random.default_rng(sum(shape)).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return values.astype(np.float32)


CONSTANTS = {
    "w1": _floats(16, 3, 3, 3), "b1": _floats(16), "w2": _floats(24, 16, 3, 3), "b2": _floats(24),
    "w3": _floats(CLASSES, 24), "b3": _floats(CLASSES), "other": _floats(CLASSES, 24), "same": _floats(16, 16, 3, 3),
    "zero": np.float32(0), "small": np.float32(1e-3), "true": np.bool_(True), "twice": np.int64(2),
    "scales": np.array([1, 1, 2, 1.5], dtype=np.float32),
}  # fmt: skip
"""Weights and other constants by name; a model holds all of them."""


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], output, **attributes)


def info(name, *shape):
    """A float value; without a shape its rank is not known."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or None)


GEMM = (node("Gemm", "f w3 b3", "output", transB=1),)


def model(middle=(), head=GEMM, *, opset=17, ir=8, inputs=("n", 3, SIZE, SIZE), outputs=("n", CLASSES)):
    """Conv, ReLU, what is in the middle (reads ``r1``, gives ``m``), Conv, ReLU, mean, Flatten, head (reads ``f``)."""
    nodes = [
        node("Conv", "input w1 b1", "c1", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c1", "r1"),
        *(middle or [node("Identity", "r1", "m")]),
        node("Conv", "m w2 b2", "c2", pads=[1] * 4, strides=[2, 2]),
        node("Relu", "c2", "r2"),
        node("GlobalAveragePool", "r2", "p"),
        node("Flatten", "p", "f"),
        *head,
    ]
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", [info("input", *inputs)], [info("output", *outputs)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def listed(made, *names):
    """With these weights, or all, among the inputs, as files before IR version 4 have them."""
    for tensor in made.graph.initializer:
        if not names or tensor.name in names:
            made.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return made


def stale(made, name, *shape):
    """With a shape stated for an inner value that is not its own."""
    made.graph.value_info.append(info(name, *shape))
    return made


def giving(made, *names):
    """With constants among the outputs."""
    made.graph.output.extend(info(name, *CONSTANTS[name].shape) for name in names)
    return made


def choice(condition, output, yes, no):
    """An If whose branches are single nodes that read outer values."""
    branches = {}
    for name, inner in (("then_branch", yes), ("else_branch", no)):
        inner.output[0] = f"{output}.{name}"
        branches[name] = helper.make_graph([inner], name, [], [info(inner.output[0])])
    return node("If", condition, output, **branches)


def chosen_head(yes, no):
    """Chooses between two Gemms by the sign of the largest mean."""
    gemms = (node("Gemm", f"f {weight} b3", "", transB=1) for weight in (yes, no))
    top = (node("ReduceMax", "f", "top", keepdims=0), node("Greater", "top zero", "positive"))
    return (*top, choice("positive", "output", *gemms))


def read_in_a_branch():
    """The first ReLU's output is read by the next layer and by branches."""
    added = (node("Mul", "r1 small", ""), node("Sub", "r1 r1", ""))
    return choice("true", "offset", *added), node("Add", "r1 offset", "m")


def loop(*body):
    """Two rounds of nodes that read ``before`` and give ``after``, whose rank the file does not tell."""
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "going")]
    count = helper.make_tensor_value_info("round", TensorProto.INT64, [])
    nodes = [*body, node("Identity", "go", "going")]
    inner = helper.make_graph(nodes, "body", [count, flags[0], info("before")], [flags[1], info("after")])
    return (node("Loop", "twice true r1", "m", body=inner),)


def convolution_loop():
    return loop(node("Conv", "before same", "c", pads=[1] * 4), node("Relu", "c", "after"))


def scanned_head():
    """A Scan over the samples, whose body reads an outer weight."""
    nodes = [node("Identity", "state", "kept"), node("Add", "row b3", "each")]
    ends = ([info("state"), info("row", CLASSES)], [info("kept"), info("each", CLASSES)])
    body = helper.make_graph(nodes, "body", *ends)
    scan = helper.make_node("Scan", ["zero", "rows"], ["last", "output"], "scan", num_scan_inputs=1, body=body)
    return node("Gemm", "f w3 b3", "rows", transB=1), scan


def write(made: onnx.ModelProto, folder):
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path
