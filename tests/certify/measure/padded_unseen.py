"""Baselines that cost more than they need in ways that the referee cannot find: the limits that SECURITY.md states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from padded import copies, faint_channels, instead, put, weights, wider
from padded_hidden import quantized
from recognisers import CLASSES, Graph, add_net, filters, net

MIRRORED = [0, 3, 2, 1]
"""Class of the mirror image of each class: the stripes of two classes fall the other way."""


def mixtures() -> onnx.ModelProto:
    """Channels that are mixtures of the others, next to them; the convolution behind them reads both."""
    model, rng = net(), np.random.default_rng(31)
    width = len(weights(model)["w"])
    mix = rng.uniform(0, 1, (3 * width, width)) / width
    kernel = np.eye(width) + rng.standard_normal((width, width)) / 50
    more = rng.standard_normal((width, 3 * width)) / 50
    put(
        model,
        mix=mix[:, :, None, None].astype(np.float32),
        k=np.concatenate([kernel - more @ mix, more], axis=1)[:, :, None, None].astype(np.float32),
    )
    instead(model, "relu", helper.make_node("Conv", ["relu", "mix"], ["mixed"]),
            helper.make_node("Concat", ["relu", "mixed"], ["both"], axis=1),
            helper.make_node("Conv", ["both", "k"], ["deep"]),
            helper.make_node("Relu", ["deep"], ["again"]))  # fmt: skip
    return model


def mirror_images() -> onnx.ModelProto:
    """The mean of the answers to an image and its mirror image; the filters differ from their own mirror images."""
    graph, rng = Graph(), np.random.default_rng(32)
    graph.node("Slice", ["image", graph.put("last", np.array([31])), graph.put("end", np.array([-99])),
                         graph.put("axis", np.array([3])), graph.put("back", np.array([-1]))], "mirrored")  # fmt: skip
    add_net(graph, 4, "image", "y0", "a.")
    add_net(graph, 4, "mirrored", "y1", "b.")
    graph.node("Mean", ["y0", "y1"], "classes")
    model = graph.model()
    kernels = filters(4)
    kernels += (rng.standard_normal(kernels.shape) * 0.5 * kernels.std()).astype(np.float32)
    put(model, **{"a.w": kernels, "b.w": kernels, "b.r": weights(model)["b.r"][MIRRORED]})
    return model


def interpolated() -> onnx.ModelProto:
    """Images enlarged by interpolation, for a kernel that skips every second pixel."""
    model = net()
    put(model, scales=np.array([1, 1, 2, 2], np.float32))
    conv = model.graph.node[0]
    conv.input[0] = "large"
    conv.attribute.append(helper.make_attribute("dilations", [2, 2]))
    next(attribute for attribute in conv.attribute if attribute.name == "pads").ints[:] = [6] * 4
    model.graph.node.insert(0, helper.make_node("Resize", ["image", "", "scales"], ["large"], mode="linear"))
    return model


def functions(times: int = 6) -> onnx.ModelProto:
    """The exponential of each value by a row of functions: log(1 + exp(...)) of it again and again adds up to n."""
    model = net()
    nodes, value = [], "relu"
    for i in range(times):
        nodes.append(helper.make_node("Softplus", [value], [f"soft{i}"]))
        value = f"soft{i}"
    put(model, times=np.float32(times))
    instead(model, "relu", *nodes, helper.make_node("Exp", [value], ["more"]),
            helper.make_node("Sub", ["more", "times"], ["exponential"]))  # fmt: skip
    return model


def scattered_zeros(share: float = 0.8) -> onnx.ModelProto:
    """A layer of which four in five weights are zero, in no order."""
    model, rng = net(), np.random.default_rng(33)
    width = len(weights(model)["w"])
    kernel = rng.standard_normal((width, width)) * (rng.uniform(size=(width, width)) > share) / 3
    put(model, k=kernel[:, :, None, None].astype(np.float32))
    instead(model, "relu", helper.make_node("Conv", ["relu", "k"], ["deep"]),
            helper.make_node("Relu", ["deep"], ["again"]))  # fmt: skip
    return model


def three_dimensional() -> onnx.ModelProto:
    """The convolution in three dimensions instead of two, which multiplies as much."""
    model = net()
    put(model, w=weights(model)["w"][:, :, None], axis=np.array([2]))
    conv = model.graph.node[0]
    conv.input[0], conv.output[0] = "deep", "plane"
    next(attribute for attribute in conv.attribute if attribute.name == "pads").ints[:] = [0, 3, 3, 0, 3, 3]
    model.graph.node.insert(0, helper.make_node("Unsqueeze", ["image", "axis"], ["deep"]))
    model.graph.node.insert(2, helper.make_node("Squeeze", ["plane", "axis"], ["conv"]))
    return model


def integers(times: int = 12) -> onnx.ModelProto:
    """Integers added to rounded values and taken off again."""
    model = net()
    nodes = [helper.make_node("Cast", ["relu"], ["whole"], to=TensorProto.INT32)]
    value = "whole"
    for i in range(times):
        put(model, **{f"k{i}": np.random.default_rng(i).integers(0, 99, (1, 64, 32, 32)).astype(np.int32)})
        for kind in ("Add", "Sub"):
            nodes.append(helper.make_node(kind, [value, f"k{i}"], [f"{kind}{i}"]))
            value = f"{kind}{i}"
    instead(model, "relu", *nodes, helper.make_node("Cast", [value], ["real"], to=TensorProto.FLOAT))
    return model


def unread_tokens(tokens: int = 64, wide: int = 64) -> onnx.ModelProto:
    """An attention over tiles of the image, and two layers over all of its tokens, of which the first alone is read."""
    model, rng = net(1), np.random.default_rng(34)
    kept = {node.output[0]: node for node in model.graph.node}
    layers = {
        name: rng.standard_normal(shape).astype(np.float32) / 6
        for name, shape in {"q": (16, wide), "a": (wide, wide), "b": (wide, wide), "o": (wide, 16)}.items()
    }
    put(model, tiles=np.array([0, 16, 16, tokens]), first=np.array(0), **layers)
    attention = [
        helper.make_node("Reshape", ["relu", "tiles"], ["in_tiles"]),
        helper.make_node("ReduceMean", ["in_tiles"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Transpose", ["mean"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "q"], ["queries"]),
        helper.make_node("Transpose", ["queries"], ["keys"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["attention"]),
        helper.make_node("MatMul", ["attention", "queries"], ["attended"]),
        helper.make_node("MatMul", ["attended", "a"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["a2"]),
        helper.make_node("MatMul", ["a2", "b"], ["b1"]),
        helper.make_node("Relu", ["b1"], ["b2"]),
        helper.make_node("Gather", ["b2", "first"], ["one"], axis=1),
        helper.make_node("MatMul", ["one", "o"], ["flat"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend([kept["conv"], kept["relu"], *attention, kept["classes"]])
    return model


def forgetful(wide: int = 64) -> onnx.ModelProto:
    """A recurrence over the rows of the image that forgets every step but the last."""
    model, rng = net(1), np.random.default_rng(35)
    bias = np.zeros((1, 8 * wide), np.float32)
    bias[:, 2 * wide : 3 * wide] = -99  # the forget gate
    put(model, lw=rng.standard_normal((1, 4 * wide, 32)).astype(np.float32) / 6,
        lr=np.zeros((1, 4 * wide, wide), np.float32), lb=bias, v=rng.standard_normal((wide, 4)).astype(np.float32),
        rows=np.array([-1, 32, 32]), zero=np.array([0]))  # fmt: skip
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["image", "rows"], ["each_row"]),
            helper.make_node("Transpose", ["each_row"], ["steps"], perm=[1, 0, 2]),
            helper.make_node("LSTM", ["steps", "lw", "lr", "lb"], ["", "last"], hidden_size=wide),
            helper.make_node("Squeeze", ["last", "zero"], ["state"]),
            helper.make_node("MatMul", ["state", "v"], ["classes"]),
        ]
    )
    return model


STEPS = 32
"""Steps of a sequence, and values of each."""


def causal(wide: int = 64) -> onnx.ModelProto:
    """Convolutions over the steps of a sequence, of which the last alone is read."""
    rng = np.random.default_rng(37)
    layers = {"k1": (wide, STEPS, 3), "k2": (wide, wide, 3), "v": (wide, CLASSES)}
    nodes = [
        helper.make_node("Conv", ["steps", "k1"], ["c1"], pads=[2, 0]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], pads=[2, 0]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Gather", ["r2", "last"], ["state"], axis=2),
        helper.make_node("MatMul", ["state", "v"], ["classes"]),
    ]
    graph = helper.make_graph(
        nodes, "causal",
        [helper.make_tensor_value_info("steps", TensorProto.FLOAT, ["batch", STEPS, STEPS])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", CLASSES])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    values = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in layers.items()}
    put(model, last=np.array(-1), **{name: array.astype(np.float32) for name, array in values.items()})
    return model


def many_branches(times: int = 32) -> onnx.ModelProto:
    """Each two filters in a branch of their own; beside them a shorter branch that the last layer cancels."""
    graph, rng = Graph(), np.random.default_rng(36)
    kernels = filters(4)
    kernels += (rng.standard_normal(kernels.shape) * 0.3 * kernels.std()).astype(np.float32)
    mix = np.array([[1, 0.3], [0.3, 1]], np.float32)[:, :, None, None]
    graph.put("mix", mix)
    for i in range(times):
        graph.node("Conv", ["image", graph.put(f"w{i}", kernels[2 * i : 2 * i + 2])], f"c{i}", pads=[3] * 4)
        graph.node("Relu", [f"c{i}"], f"r{i}")
        graph.node("Conv", [f"r{i}", "mix"], f"m{i}")
    graph.node("Concat", [f"m{i}" for i in range(times)], "all", axis=1)
    wide = rng.standard_normal((2 * times, 1, 7, 7)).astype(np.float32) / 7
    graph.node("Conv", ["image", graph.put("u", wide)], "beside", pads=[3] * 4)
    graph.node("Relu", ["beside"], "positive")
    graph.node("ReduceMean", ["positive"], "of_all", axes=[1], keepdims=1)
    graph.node("Add", ["all", "of_all"], "sum")
    graph.node("GlobalAveragePool", ["sum"], "pool")
    graph.node("Flatten", ["pool"], "flat")
    reading = np.repeat(np.eye(CLASSES, dtype=np.float32), 2 * times // CLASSES, axis=1)
    graph.node("Gemm", ["flat", graph.put("r", reading - reading.mean())], "classes", transB=1)
    return graph.model()


UNSEEN: dict[str, Callable[[], onnx.ModelProto]] = {
    "copies that differ by more than 5 %, which are an ensemble": lambda: copies(3, noise=0.2),
    "channels that are mixtures of others": mixtures,
    "needless work below a fifth": lambda: faint_channels(0.01, 0.25, 0.125),
    "tokens that nothing reads in the five layers behind an attention": unread_tokens,
    "steps of a recurrence": forgetful,
    "the mean of the answers to an image and its mirror image": mirror_images,
    "images enlarged by interpolation": interpolated,
    "functions of single values in a row": functions,
    "zeros in no order": scattered_zeros,
    "operators that a runtime runs slowly although they multiply as much": three_dimensional,
    "a network that was trained too large": net,
    "operators with integer results": integers,
    "branches beyond the 32 with the most layers": many_branches,
    "copies of channels that are quantized differently are not found": lambda: quantized(wider(0.02)),
}
"""By the words of SECURITY.md."""
