"""The honest net of recognisers.py with something in it that costs much and changes no answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from recognisers import Graph, add_net, net

CONV = "conv"
"""Node, and value, that most of these build upon."""


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def put(model: onnx.ModelProto, **arrays: np.ndarray) -> None:
    """Set or add weights."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in arrays]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *(onnx.numpy_helper.from_array(one, name) for name, one in arrays.items())])


def instead(model: onnx.ModelProto, value: str, *nodes: onnx.NodeProto) -> None:
    """Put nodes behind the one that makes a value; who read the value reads what the last of them makes."""
    made = list(model.graph.node)
    place = next(i for i, node in enumerate(made) if value in node.output) + 1
    for node in made[place:]:
        node.input[:] = [nodes[-1].output[0] if name == value else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*made[:place], *nodes, *made[place:]])


def copies(times: int = 8, noise: float = 1e-3) -> onnx.ModelProto:
    """The mean of several nearly equal nets."""
    rng, graph = np.random.default_rng(3), Graph()
    for i in range(times):
        add_net(graph, 4, output=f"y{i}", prefix=f"n{i}.")
    graph.node("Mean", [f"y{i}" for i in range(times)], "classes")
    model = graph.model()
    put(model, **{name: (w * (1 + noise * rng.standard_normal(w.shape))).astype(np.float32)
                  for name, w in weights(model).items()})  # fmt: skip
    return model


def summed_copies() -> onnx.ModelProto:
    """Copies that are added up, and divided in the end; each has its channels in another order."""
    rng, graph = np.random.default_rng(5), Graph()
    for i in range(5):
        add_net(graph, 4, output=f"y{i}", prefix=f"n{i}.")
    for i in range(1, 5):
        graph.node("Add", [f"y{i - 1}" if i == 1 else f"s{i - 1}", f"y{i}"], f"s{i}")
    graph.node("Div", ["s4", graph.put("five", np.float32(5))], "classes")
    model = graph.model()
    for i in range(5):
        order = rng.permutation(len(weights(model)[f"n{i}.w"]))
        put(model, **{f"n{i}.w": weights(model)[f"n{i}.w"][order], f"n{i}.r": weights(model)[f"n{i}.r"][:, order]})
    return model


def large_kernels(border: float = 0.0) -> onnx.ModelProto:
    """Kernels with a border of (next to) nothing."""
    model = net()
    kernels = weights(model)["w"]
    largest = np.abs(kernels).max()
    wide = np.pad(kernels, ((0, 0), (0, 0), (4, 4), (4, 4)), constant_values=np.float32(border * largest))
    put(model, w=wide)
    for attribute in model.graph.node[0].attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [7] * 4
    return model


def little_around() -> onnx.ModelProto:
    """Kernels of 17 instead of 7 pixels, with weights of either sign around them that add next to nothing."""
    model, rng = net(), np.random.default_rng(5)
    kernels = weights(model)["w"]
    wide = rng.choice([-1, 1], (len(kernels), 1, 17, 17)) * 0.006 * np.abs(kernels).max()
    wide[:, :, 5:12, 5:12] = kernels
    put(model, w=wide.astype(np.float32))
    _conv(model, pads=[8] * 4)
    return model


def padded_apart() -> onnx.ModelProto:
    """The same with the padding in an operator of its own."""
    model = large_kernels()
    conv = model.graph.node[0]
    conv.input[0] = "wider"
    del conv.attribute[:]
    put(model, by=np.array([0, 0, 7, 7, 0, 0, 7, 7]))
    model.graph.node.insert(0, helper.make_node("Pad", ["image", "by"], ["wider"]))
    return model


def branch(weight: float = 1e-4) -> onnx.ModelProto:
    """A large branch that adds next to nothing."""
    model = net()
    width = len(weights(model)["w"])
    wide = np.random.default_rng(1).standard_normal((4 * width, width, 3, 3)).astype(np.float32)
    narrow = np.random.default_rng(2).standard_normal((width, 4 * width, 1, 1)).astype(np.float32)
    put(model, v1=wide / 100, v2=narrow / 100, little=np.float32(weight))
    instead(
        model, "relu",
        helper.make_node("Conv", ["relu", "v1"], ["b1"], pads=[1] * 4), helper.make_node("Relu", ["b1"], ["b2"]),
        helper.make_node("Conv", ["b2", "v2"], ["b3"]), helper.make_node("Mul", ["b3", "little"], ["b4"]),
        helper.make_node("Add", ["relu", "b4"], ["b5"]),
    )  # fmt: skip
    return model


def taken_back() -> onnx.ModelProto:
    """A branch that is added in full, and taken off again."""
    model = branch(1.0)
    instead(model, "b5", helper.make_node("Sub", ["b5", "b4"], ["b6"]))
    return model


def gated() -> onnx.ModelProto:
    """A branch whose only use is a gate that is always open."""
    model = branch(1e-3)
    add = next(node for node in model.graph.node if node.op_type == "Add")
    add.op_type = "Mul"
    instead(model, "b4", helper.make_node("Sigmoid", ["b4"], ["b4s"]))
    return model


def beside(weight: float = 0.0) -> onnx.ModelProto:
    """A branch that is set beside the channels, and read with weights of (next to) nothing."""
    model = branch(1.0)
    add = next(node for node in model.graph.node if node.op_type == "Add")
    add.CopyFrom(helper.make_node("Concat", list(add.input), list(add.output), axis=1))
    r = weights(model)["r"]
    put(model, r=np.hstack([r, np.full_like(r, weight * np.abs(r).max())]))
    return model


def chain(length: int = 12) -> onnx.ModelProto:
    """Adds and Subs of constants that keep operators from being fused."""
    model = net()
    nodes, value = [], "conv"
    for i in range(length):
        put(model, **{f"k{i}": np.random.default_rng(i).standard_normal((1, 64, 32, 32)).astype(np.float32)})
        for kind in ("Add", "Sub"):
            nodes.append(helper.make_node(kind, [value, f"k{i}"], [f"{kind}{i}"]))
            value = f"{kind}{i}"
    instead(model, "conv", *nodes)
    return model


def casts(times: int = 12) -> onnx.ModelProto:
    """Casts to another precision and back."""
    model = net()
    nodes, value = [], "conv"
    for i in range(times):
        for kind in (TensorProto.DOUBLE if i % 2 else TensorProto.FLOAT16, TensorProto.FLOAT):
            nodes.append(helper.make_node("Cast", [value], [f"cast{i}.{kind}"], to=kind))
            value = f"cast{i}.{kind}"
    instead(model, "conv", *nodes)
    return model


def unmixed() -> onnx.ModelProto:
    """Channels that are mixed by a convolution, and unmixed by the next one."""
    model = net()
    width = len(weights(model)["w"])
    turn, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((width, width)))
    put(model, t1=turn[:, :, None, None].astype(np.float32), t2=turn.T[:, :, None, None].astype(np.float32))
    instead(model, "relu", helper.make_node("Conv", ["relu", "t1"], ["mixed"]),
            helper.make_node("Conv", ["mixed", "t2"], ["unmixed"]))  # fmt: skip
    return model


def loop(times: int = 8) -> onnx.ModelProto:
    """The whole net again and again, and its mean."""
    model = net()
    info, number, flag, real = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.BOOL, TensorProto.FLOAT
    last = [helper.make_node("Add", ["sum", "classes"], ["more"]), helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(
        [*model.graph.node, *last], "body",
        [info("i", number, []), info("go", flag, []), info("sum", real, None)],
        [info("on", flag, []), info("more", real, None)],
    )  # fmt: skip
    put(model, times=np.array(times), start=np.zeros((1, 4), np.float32), less=np.float32(1 / times))
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("Loop", ["times", "", "start"], ["total"], body=body),
            helper.make_node("Mul", ["total", "less"], ["classes"]),
        ]
    )
    return model


def unread() -> onnx.ModelProto:
    """Weights that nothing reads."""
    model = net()
    put(model, fat=np.random.default_rng(0).standard_normal(100_000).astype(np.float32))
    return model


def taken_off_behind() -> onnx.ModelProto:
    """A branch that is added before a convolution, and whose convolution is taken off behind it."""
    model, rng = net(), np.random.default_rng(6)
    put(model, b1=rng.standard_normal((256, 1, 5, 5)).astype(np.float32) / 5,
        b2=np.abs(rng.standard_normal((1, 256, 1, 1)).astype(np.float32)) / 256)  # fmt: skip
    conv = model.graph.node[0]
    again = onnx.NodeProto()
    again.CopyFrom(conv)
    conv.input[0], again.input[0], again.output[0], again.name = "with", "beside", "less", "less"
    instead(model, "conv", again, helper.make_node("Sub", ["conv", "less"], ["left"]))
    model.graph.node.insert(0, helper.make_node("Conv", ["image", "b1"], ["h1"], pads=[2] * 4))
    model.graph.node.insert(1, helper.make_node("Relu", ["h1"], ["h2"]))
    model.graph.node.insert(2, helper.make_node("Conv", ["h2", "b2"], ["beside"]))
    model.graph.node.insert(3, helper.make_node("Add", ["image", "beside"], ["with"]))
    return model


def wider(noise: float = 0.0) -> onnx.ModelProto:
    """Every channel twice, the second with twice the weights, and read with a share of each."""
    model = net()
    w, r = weights(model)["w"], weights(model)["r"]
    moved = 1 + noise * np.random.default_rng(8).standard_normal(w.shape)
    again = (2 * w * moved).astype(np.float32)
    put(model, w=np.concatenate([w, again]), r=np.concatenate([r / 2, r / 4], axis=1))
    return model


def unread_channels() -> onnx.ModelProto:
    """Three times as many channels again, which are read with weights of next to nothing."""
    model = net()
    w, r = weights(model)["w"], weights(model)["r"]
    more = np.random.default_rng(9).standard_normal((3 * len(w), *w.shape[1:])).astype(np.float32) * w.std()
    little = np.full((len(r), len(more)), 1e-3 * r.max(), np.float32)
    put(model, w=np.concatenate([w, more]), r=np.concatenate([r, little], axis=1))
    return model


def faint_channels(size: float = 0.01, read: float = 0.25, times: float = 6) -> onnx.ModelProto:
    """Six times as many channels again, which hold next to nothing, or are read with little."""
    model, rng = net(), np.random.default_rng(10)
    w, r = weights(model)["w"], weights(model)["r"]
    more = (rng.standard_normal((round(times * len(w)), *w.shape[1:])) * w.std() * size).astype(np.float32)
    signs = rng.choice([-1, 1], (len(r), len(more))).astype(np.float32)
    put(model, w=np.concatenate([w, more]), r=np.concatenate([r, signs * np.float32(read) * r.max()], axis=1))
    return model


def _fed(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    model.graph.node[0].input[0] = nodes[-1].output[0]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def _conv(model: onnx.ModelProto, **changed: list[int]) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    kept = [attribute for attribute in conv.attribute if attribute.name not in changed]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changed.items())])


def cropped() -> onnx.ModelProto:
    """A frame around the image, which is cut off behind the convolution."""
    model = net()
    put(model, by=np.array([0, 0, 16, 16, 0, 0, 16, 16]), starts=np.array([16, 16]), ends=np.array([48, 48]),
        axes=np.array([2, 3]))  # fmt: skip
    _fed(model, helper.make_node("Pad", ["image", "by"], ["framed"]))
    instead(model, "relu", helper.make_node("Slice", ["relu", "starts", "ends", "axes"], ["cropped"]))
    return model


def every_fourth() -> onnx.ModelProto:
    """A convolution at every pixel, of which every fourth in each direction is read."""
    model = net()
    put(model, starts=np.array([0, 0]), ends=np.array([32, 32]), axes=np.array([2, 3]), steps=np.array([4, 4]))
    instead(model, "relu", helper.make_node("Slice", ["relu", "starts", "ends", "axes", "steps"], ["few"]))
    return model


def enlarged() -> onnx.ModelProto:
    """Every pixel four times, for a kernel that skips every second one."""
    model = net()
    put(model, scales=np.array([1, 1, 2, 2], np.float32))
    _conv(model, dilations=[2, 2], pads=[6] * 4)
    _fed(model, helper.make_node("Resize", ["image", "", "scales"], ["large"], mode="nearest",
                                 coordinate_transformation_mode="asymmetric", nearest_mode="floor"))  # fmt: skip
    return model


def enlarged_results() -> onnx.ModelProto:
    """Every result of the convolution 16 times, before they are averaged."""
    model = net()
    put(model, scales=np.array([1, 1, 4, 4], np.float32))
    instead(model, "conv", helper.make_node("Resize", ["conv", "", "scales"], ["large"], mode="nearest"))
    return model


def skipping() -> onnx.ModelProto:
    """The same, with zeros in the kernel where it skips."""
    model = enlarged()
    kernels = weights(model)["w"]
    wide = np.zeros((*kernels.shape[:2], 13, 13), np.float32)
    wide[..., ::2, ::2] = kernels
    put(model, w=wide)
    _conv(model, dilations=[1, 1])
    return model


def batch(times: int = 8) -> onnx.ModelProto:
    """Copies of the sample, and the mean of their answers."""
    model = net()
    _fed(model, helper.make_node("Concat", ["image"] * times, ["many"], axis=0))
    put(model, each=np.array([times, -1, 4]))
    model.graph.node[-1].output[0] = "all"
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["all", "each"], ["apart"]),
            helper.make_node("ReduceMean", ["apart"], ["classes"], axes=[0], keepdims=0),
        ]
    )
    return model


def ungrouped() -> onnx.ModelProto:
    """A convolution of single channels as one of all channels, most of whose weights are zero."""
    model, kernel = net(), np.zeros((64, 64, 3, 3), np.float32)
    kernel[np.arange(64), np.arange(64)] = 1 / 9
    put(model, k=kernel)
    instead(model, "relu", helper.make_node("Conv", ["relu", "k"], ["smooth"], pads=[1] * 4))
    return model


def product() -> onnx.ModelProto:
    """A linear layer as two of four times the width."""
    model, rng = net(), np.random.default_rng(4)
    first = rng.standard_normal((256, 64))
    second = (np.eye(64) + 0.5 * np.roll(np.eye(64), 1, 0)) @ np.linalg.pinv(first)
    put(model, a=first[:, :, None, None].astype(np.float32), b=second[:, :, None, None].astype(np.float32))
    instead(model, "relu", helper.make_node("Conv", ["relu", "a"], ["wide"]),
            helper.make_node("Conv", ["wide", "b"], ["mixed"]))  # fmt: skip
    return model


def denormal(before: bool) -> onnx.ModelProto:
    """A convolution of or into denormal numbers, in which a processor computes a hundred times as slowly."""
    model, little = net(), np.float32(2e-39)
    w, r = weights(model)["w"], weights(model)["r"]
    put(model, w=(w * np.float32(1e38) if before else w * little), r=r if before else r / np.float32(1e-38))
    if before:
        put(model, little=little)
        _fed(model, helper.make_node("Mul", ["image", "little"], ["faint"]))
    return model


NEEDLESS: dict[str, Callable[[], onnx.ModelProto]] = {
    "every channel twice": wider,
    "every channel twice, not quite equal": lambda: wider(0.02),
    "channels read with next to nothing": unread_channels,
    "channels that hold next to nothing": faint_channels,
    "channels that are read with little": lambda: faint_channels(0.3, 0.015),
    "kernels with little around them": little_around,
    "a frame that is cut off": cropped,
    "pixels that are skipped": every_fourth,
    "every pixel four times": enlarged,
    "every result 16 times": enlarged_results,
    "kernels with zeros between their weights": skipping,
    "copies of the sample in a batch": batch,
    "single channels convolved as all": ungrouped,
    "a layer as a product of two": product,
    "denormal images": lambda: denormal(True),
    "denormal results": lambda: denormal(False),
}
"""What cannot be removed without rewriting the network: the finding fails, and the file stays."""

PADDED: dict[str, Callable[[], onnx.ModelProto]] = {
    "near-equal copies": copies,
    "copies in another order, summed": summed_copies,
    "kernels with zeros around them": large_kernels,
    "kernels with next to nothing around them": lambda: large_kernels(1e-4),
    "large kernels, padded apart": padded_apart,
    "a branch of next to no weight": branch,
    "a branch that is taken back": taken_back,
    "a branch that is taken off behind a convolution": taken_off_behind,
    "a gate that is always open": gated,
    "a branch beside the channels": beside,
    "Add and Sub in turn": chain,
    "Casts there and back": casts,
    "channels mixed and unmixed": unmixed,
    "a loop of constant trips": loop,
    "weights that nothing reads": unread,
}
