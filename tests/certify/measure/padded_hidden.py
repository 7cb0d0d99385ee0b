"""The honest net with padding where values are not compared: in branches, constants and other layouts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from padded import beside, copies, instead, large_kernels, put, unread_channels, weights
from recognisers import CONTRACT, net, textures

FLOAT = TensorProto.FLOAT
TIMES = 16


def in_branches(condition: float, padded: Callable[[], onnx.ModelProto] = copies) -> onnx.ModelProto:
    """A padded net in both branches of an If, so that its condition (the brightness of a sample) changes nothing."""
    model = padded()
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    branches = {}
    for name in ("then_branch", "else_branch"):
        inside = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        for node in inside:
            node.name = ""
            for names in (node.input, node.output):
                made = {one for other in nodes for one in other.output}
                names[:] = [f"{name}.{one}" if one in made else one for one in names]
        output = helper.make_tensor_value_info(inside[-1].output[0], FLOAT, ["batch", 4])
        branches[name] = helper.make_graph(inside, name, [], [output])
    put(model, bright=np.float32(condition))
    del model.graph.node[:]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
            helper.make_node("Greater", ["mean", "bright"], ["is_bright"]),
            helper.make_node("If", ["is_bright"], ["classes"], **branches),
        ]
    )
    return model


def for_every_sample() -> onnx.ModelProto:
    """Weights as a product of constants, which the runtime cannot fold because it includes the number of samples."""
    model, rng = net(), np.random.default_rng(11)
    r = weights(model)["r"]
    left = rng.standard_normal((4, 16384)).astype(np.float32) / 128
    put(model, left=left, right=(np.linalg.pinv(left) @ r).astype(np.float32))
    model.graph.node[-1].input[1] = "now"
    last = model.graph.node.pop()
    model.graph.node.extend(
        [
            helper.make_node("Size", ["image"], ["size"]),
            helper.make_node("Div", ["size", "size"], ["one"]),
            helper.make_node("Cast", ["one"], ["one_float"], to=FLOAT),
            helper.make_node("Mul", ["left", "one_float"], ["left_now"]),
            helper.make_node("MatMul", ["left_now", "right"], ["now"]),
            last,
        ]
    )
    return model


def scaled_again(kind: str = "Mul") -> onnx.ModelProto:
    """Every channel is scaled and shifted again and again; the last layer undoes this."""
    model, rng = net(), np.random.default_rng(12)
    width = len(weights(model)["w"])
    scale, offset = np.ones(width), np.zeros(width)
    nodes, value = [], "relu"
    for i in range(TIMES):
        by, more = rng.uniform(0.7, 1.4, width).astype(np.float32), rng.uniform(-1, 1, width).astype(np.float32)
        scale, offset = scale * by, offset * by + more
        if kind == "Mul":
            put(model, **{f"by{i}": by.reshape(-1, 1, 1), f"more{i}": more.reshape(-1, 1, 1)})
            nodes += [helper.make_node("Mul", [value, f"by{i}"], [f"mul{i}"]),
                      helper.make_node("Add", [f"mul{i}", f"more{i}"], [f"add{i}"])]  # fmt: skip
        else:
            put(model, **{f"by{i}": by, f"more{i}": more, "none": np.zeros(width, np.float32),
                          "one": np.ones(width, np.float32)})  # fmt: skip
            names = [value, f"by{i}", f"more{i}", "none", "one"]
            nodes.append(helper.make_node("BatchNormalization", names, [f"add{i}"], epsilon=0.0))
        value = f"add{i}"
    instead(model, "relu", *nodes)
    r = weights(model)["r"]
    put(model, r=(r / scale).astype(np.float32), b=(-(r / scale) @ offset).astype(np.float32))
    model.graph.node[-1].input.append("b")
    return model


def shuffled_again(by: str = "Gather") -> onnx.ModelProto:
    """The channels are reordered again and again; the last layer undoes this."""
    model, rng = net(), np.random.default_rng(13)
    width = len(weights(model)["w"])
    order, nodes, value = np.arange(width), [], "relu"
    put(model, cut=np.array([23]), start=np.array([0]), end=np.array([width]), axis=np.array([1]))
    for i in range(TIMES):
        if by == "Gather":
            new = rng.permutation(width)
            put(model, **{f"order{i}": new})
            nodes.append(helper.make_node("Gather", [value, f"order{i}"], [f"shuffled{i}"], axis=1))
        else:
            new = np.roll(np.arange(width), -23)
            nodes += [helper.make_node("Slice", [value, "cut", "end", "axis"], [f"a{i}"]),
                      helper.make_node("Slice", [value, "start", "cut", "axis"], [f"b{i}"]),
                      helper.make_node("Concat", [f"a{i}", f"b{i}"], [f"shuffled{i}"], axis=1)]  # fmt: skip
        order, value = order[new], f"shuffled{i}"
    instead(model, "relu", *nodes)
    put(model, r=weights(model)["r"][:, order])
    return model


def mixed_before_pooling() -> onnx.ModelProto:
    """Channels are mixed at every pixel, and unmixed by the last layer after the average over all pixels."""
    model = net()
    width = len(weights(model)["w"])
    turn, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((width, width)))
    put(model, t=turn[:, :, None, None].astype(np.float32), r=(weights(model)["r"] @ turn.T).astype(np.float32))
    instead(model, "relu", helper.make_node("Conv", ["relu", "t"], ["mixed"]))
    return model


def mixed_before_a_shuffle() -> onnx.ModelProto:
    """Channels are mixed by a convolution, reordered, and unmixed by the next convolution."""
    model = net()
    width = len(weights(model)["w"])
    rng = np.random.default_rng(14)
    turn, _ = np.linalg.qr(rng.standard_normal((width, width)))
    again, _ = np.linalg.qr(rng.standard_normal((width, width)))
    order = rng.permutation(width)
    put(model, t=turn[:, :, None, None].astype(np.float32), order=order,
        u=(again @ turn.T[:, order])[:, :, None, None].astype(np.float32),
        r=(weights(model)["r"] @ again.T).astype(np.float32))  # fmt: skip
    instead(model, "relu", helper.make_node("Conv", ["relu", "t"], ["mixed"]),
            helper.make_node("Gather", ["mixed", "order"], ["shuffled"], axis=1),
            helper.make_node("Conv", ["shuffled", "u"], ["unmixed"]))  # fmt: skip
    return model


def uncounted_branch() -> onnx.ModelProto:
    """An Einsum next to the channels, read with zero weights."""
    model, rng = net(), np.random.default_rng(15)
    width = len(weights(model)["w"])
    r = weights(model)["r"]
    put(model, e=rng.standard_normal((width, width)).astype(np.float32), r=np.hstack([r, np.zeros_like(r)]))
    instead(model, "relu", helper.make_node("Einsum", ["relu", "e"], ["h"], equation="nchw,cd->ndhw"),
            helper.make_node("Concat", ["relu", "h"], ["both"], axis=1))  # fmt: skip
    return model


def transposed_kernels() -> onnx.ModelProto:
    """The convolution as a transposed one, whose kernels have a border of zeros."""
    model = net()
    w = weights(model)["w"]
    put(model, w=np.pad(w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), ((0, 0), (0, 0), (4, 4), (4, 4))))
    conv = model.graph.node[0]
    conv.op_type = "ConvTranspose"
    for attribute in conv.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [7] * 4
    return model


def stacked_weights() -> onnx.ModelProto:
    """Every channel times a constant, as a product with a stack of one matrix that is zero off its diagonal."""
    model = net()
    factors = np.random.default_rng(16).uniform(0.5, 2, 64).astype(np.float32)
    put(model, diagonal=np.diag(factors)[None], r=weights(model)["r"] / factors)
    instead(model, "relu", helper.make_node("Transpose", ["relu"], ["last"], perm=[0, 2, 3, 1]),
            helper.make_node("MatMul", ["last", "diagonal"], ["more"]),
            helper.make_node("Relu", ["more"], ["positive"]),
            helper.make_node("Transpose", ["positive"], ["first"], perm=[0, 3, 1, 2]))  # fmt: skip
    return model


def dequantized(padded: Callable[[], onnx.ModelProto] = large_kernels) -> onnx.ModelProto:
    """A padded net whose kernels are stored as integers, and multiplied by their scale in every run."""
    model = padded()
    w = weights(model)["w"]
    model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == "w"))
    scale = np.float32(np.abs(w).max() / 127)
    put(model, q=np.round(w / scale).astype(np.int8), s=scale, z=np.int8(0))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["kernels"]))
    next(node for node in model.graph.node if node.op_type == "Conv").input[1] = "kernels"
    return model


def deep() -> onnx.ModelProto:
    """The honest net with another convolution, compared with which an elementwise operator costs little."""
    model = net()
    width = len(weights(model)["w"])
    kernel = np.random.default_rng(17).standard_normal((width, width, 3, 3)).astype(np.float32) / 100
    kernel[np.arange(width), np.arange(width), 1, 1] += 1
    put(model, k=kernel)
    instead(model, "relu", helper.make_node("Conv", ["relu", "k"], ["deep"], pads=[1] * 4),
            helper.make_node("Relu", ["deep"], ["again"]))  # fmt: skip
    return model


def steps_first() -> onnx.ModelProto:
    """The honest net with a layer over its pixels, which are on the first axis, in two places."""
    model, rng = net(), np.random.default_rng(18)
    put(model, rows=np.array([1, 64, 1024]), same=np.array([1024, 1, 64]), first=np.array([1, 1024, 64]),
        image4=np.array([1, 64, 32, 32]), k=rng.standard_normal((64, 64)).astype(np.float32) / 16)  # fmt: skip
    instead(
        model, "relu",
        helper.make_node("Reshape", ["relu", "rows"], ["flat_rows"]),
        helper.make_node("Transpose", ["flat_rows"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("MatMul", ["steps", "k"], ["little"]),
        helper.make_node("Add", ["steps", "little"], ["sum"]),
        helper.make_node("Reshape", ["sum", "first"], ["sum_rows"]),
        helper.make_node("Reshape", ["little", "first"], ["little_rows"]),
        helper.make_node("Add", ["sum_rows", "little_rows"], ["more"]),
        helper.make_node("Transpose", ["more"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["channels", "image4"], ["as_image"]),
    )  # fmt: skip
    return model


def recurrent(read: str) -> onnx.ModelProto:
    """The honest net with a recurrence over the rows of the image, of which eight units matter.

    The other 248 are read by nothing, are constant, repeat the first, or feed a branch that adds next to nothing.
    """
    model, rng = net(), np.random.default_rng(19)
    wide, few = 256, 8
    w = rng.standard_normal((4, wide, 32)).astype(np.float32) / 6
    across = rng.standard_normal((4, wide, wide)).astype(np.float32) / 16
    v = rng.standard_normal((wide, 4)).astype(np.float32) / 10
    if read == "nothing":
        across[:, :few, few:], v[few:] = 0, 0
    elif read == "constants":
        across[:, few:], w[:, few:], across[:, :, few:] = 0, 0, 0
    elif read == "copies":
        each = wide // few
        w = np.tile(w[:, :few], (1, each, 1))
        across = np.tile(across[:, :few, :few] * 4 / each, (1, each, each))
        v = np.tile(v[:few] / each, (each, 1))
    else:
        v *= np.float32(1e-4)
    put(
        model,
        lw=w.reshape(1, -1, 32),
        lr=across.reshape(1, -1, wide),
        v=v,
        rows=np.array([-1, 32, 32]),
        zero=np.array([0]),
    )
    model.graph.node[-1].output[0] = "whole"
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["image", "rows"], ["each_row"]),
            helper.make_node("Transpose", ["each_row"], ["steps"], perm=[1, 0, 2]),
            helper.make_node("LSTM", ["steps", "lw", "lr"], ["", "last"], hidden_size=wide),
            helper.make_node("Squeeze", ["last", "zero"], ["state"]),
            helper.make_node("MatMul", ["state", "v"], ["of_rows"]),
            helper.make_node("Add", ["whole", "of_rows"], ["classes"]),
        ]
    )
    return model


def same_heads(heads: int = 8) -> onnx.ModelProto:
    """The honest net with an attention over four pixels each, all of whose heads are the same."""
    model, rng = net(1), np.random.default_rng(20)
    wide, tokens = 16, 256
    q = rng.standard_normal((wide, wide)).astype(np.float32) / 4
    shapes = {"fours": [0, wide, tokens, 4], "split": [0, tokens, heads, wide], "joined": [0, tokens, heads * wide]}
    put(model, q=np.tile(q, (1, heads)), o=np.tile(np.linalg.pinv(q).astype(np.float32), (heads, 1)) / heads,
        **{name: np.array(shape) for name, shape in shapes.items()})  # fmt: skip
    last = model.graph.node[-1]
    kept = [node for node in model.graph.node if node.op_type not in ("GlobalAveragePool", "Flatten")]
    attention = [
        helper.make_node("Reshape", ["relu", "fours"], ["of_four"]),
        helper.make_node("ReduceMean", ["of_four"], ["mean"], axes=[3], keepdims=0),
        helper.make_node("Transpose", ["mean"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "q"], ["projected"]),
        helper.make_node("Reshape", ["projected", "split"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["queries"], perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["heads"], ["keys"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["queries", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["attention"]),
        helper.make_node("MatMul", ["attention", "queries"], ["attended"]),
        helper.make_node("Transpose", ["attended"], ["tokens_again"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["tokens_again", "joined"], ["side_by_side"]),
        helper.make_node("MatMul", ["side_by_side", "o"], ["mixed"]),
        helper.make_node("ReduceMean", ["mixed"], ["flat"], axes=[1], keepdims=0),
    ]
    del model.graph.node[:]
    model.graph.node.extend([*kept[:-1], *attention, last])
    return model


def in_each_trip(kind: str) -> onnx.ModelProto:
    """The mean of what a body computes from the same image in each of eight trips, which cannot be unrolled."""
    model, info = net(), helper.make_tensor_value_info
    result = helper.make_node("Identity", ["classes"], ["answer"])
    ports = (
        [info("step", FLOAT, None)]
        if kind == "Scan"
        else [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, [])]
    )
    results = [] if kind == "Scan" else [info("on", TensorProto.BOOL, [])]
    going = [] if kind == "Scan" else [helper.make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(
        [*model.graph.node, result, *going], "body", ports, [*results, info("answer", FLOAT, None)]
    )
    put(model, trips=np.zeros((8, 1), np.float32) if kind == "Scan" else np.array(8))
    attributes: dict[str, Any] = {"num_scan_inputs": 1} if kind == "Scan" else {}
    taken = ["trips"] if kind == "Scan" else ["trips", ""]
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node(kind, taken, ["all"], body=body, **attributes),
                             helper.make_node("ReduceMean", ["all"], ["classes"], axes=[0], keepdims=0)])  # fmt: skip
    return model


def einsum(equation: str) -> onnx.ModelProto:
    """Channels in another order by an Einsum with a matrix of zeros and ones, read in that order."""
    model = net()
    width = len(weights(model)["w"])
    matrix = np.eye(width, dtype=np.float32)[np.random.default_rng(21).permutation(width)]
    put(model, m=matrix if equation == "dc,nchw->ndhw" else matrix.T, r=weights(model)["r"] @ matrix.T)
    if equation == "dc,nchw->ndhw":
        instead(model, "relu", helper.make_node("Einsum", ["m", "relu"], ["mixed"], equation=equation))
    else:
        instead(model, "relu", helper.make_node("Transpose", ["relu"], ["last"], perm=[0, 2, 3, 1]),
                helper.make_node("Einsum", ["last", "m"], ["mixed"], equation=equation),
                helper.make_node("Transpose", ["mixed"], ["first"], perm=[0, 3, 1, 2]))  # fmt: skip
    return model


def summands(times: int = 8) -> onnx.ModelProto:
    """The convolution as a sum of several, whose random kernels add up to its own."""
    model, rng = net(), np.random.default_rng(22)
    w = weights(model)["w"]
    parts = [(rng.standard_normal(w.shape) * w.std()).astype(np.float32) for _ in range(times - 1)]
    put(model, **{f"part{i}": part for i, part in enumerate([*parts, w - sum(parts)])})
    conv, *rest = model.graph.node
    nodes = []
    for i in range(times):
        nodes.append(onnx.NodeProto.FromString(conv.SerializeToString()))
        nodes[i].input[1], nodes[i].output[0], nodes[i].name = f"part{i}", f"summand{i}", f"summand{i}"
    del model.graph.node[:]
    model.graph.node.extend([*nodes, helper.make_node("Sum", [f"summand{i}" for i in range(times)], ["conv"]), *rest])
    return model


def same_inputs(times: int = 16) -> onnx.ModelProto:
    """The image sixteen times, as its channels."""
    model = net()
    put(model, times=np.array([1, times, 1, 1]), w=np.tile(weights(model)["w"] / times, (1, times, 1, 1)))
    model.graph.node[0].input[0] = "many"
    model.graph.node.insert(0, helper.make_node("Tile", ["image", "times"], ["many"]))
    return model


def slow() -> onnx.ModelProto:
    """A power of one, which is slow although it counts as little work."""
    model = deep()
    put(model, one=np.float32(1))
    instead(model, "again", helper.make_node("Pow", ["again", "one"], ["same"]))
    return model


def brittle() -> onnx.ModelProto:
    """A net that answers wrongly for images less smooth than those of the test, which would excuse any candidate."""
    model = deep()
    put(model, limit=np.float32(1e9))
    model.graph.node[-1].output[0] = "answers"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["image"], ["top"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Flatten", ["top"], ["brightest"]),
            helper.make_node("Less", ["brightest", "limit"], ["known"]),
            helper.make_node("Neg", ["answers"], ["wrong"]),
            helper.make_node("Where", ["known", "answers", "wrong"], ["classes"]),
        ]
    )
    return model


def framed(cut: str) -> onnx.ModelProto:
    """A frame around the image, which is cut off behind the convolution by other operators than a Slice."""
    model = net()
    around = np.array([0, 0, 16, 16, 0, 0, 16, 16])
    inside = np.zeros((1, 1, 64, 64), np.float32)
    inside[..., 16:48, 16:48] = 4  # the average is of four times as many pixels
    own = {"Pad": {"less": -around}, "Split": {"parts": np.array([16, 32, 16])}, "Mul": {"inside": inside}}
    put(model, by=around, **own[cut])
    model.graph.node[0].input[0] = "framed"
    model.graph.node.insert(0, helper.make_node("Pad", ["image", "by"], ["framed"]))
    nodes = {
        "Pad": [helper.make_node("Pad", ["relu", "less"], ["cropped"])],
        "Split": [
            helper.make_node("Split", ["relu", "parts"], ["", "rows", ""], axis=2),
            helper.make_node("Split", ["rows", "parts"], ["", "pixels", ""], axis=3),
            helper.make_node("Identity", ["pixels"], ["cropped"]),
        ],
        "Mul": [helper.make_node("Mul", ["relu", "inside"], ["cropped"])],
    }
    for node in nodes["Split"][:2]:
        node.output[0], node.output[2] = f"{node.output[1]}.before", f"{node.output[1]}.after"
    instead(model, "relu", *nodes[cut])
    return model


def gathered_channels() -> onnx.ModelProto:
    """Three times as many channels again, which a GatherND leaves out."""
    model = net()
    w = weights(model)["w"]
    more = np.random.default_rng(9).standard_normal((3 * len(w), *w.shape[1:])).astype(np.float32) * w.std()
    put(model, w=np.concatenate([w, more]), places=np.arange(len(w)).reshape(1, -1, 1))
    instead(model, "relu", helper.make_node("GatherND", ["relu", "places"], ["kept"], batch_dims=1))
    return model


def before_the_average(by: str) -> onnx.ModelProto:
    """Every channel blurred, enlarged or multiplied by a large matrix, before all of its pixels are averaged."""
    model, rng = net(), np.random.default_rng(23)
    blur, mixed = rng.uniform(0.5, 1, (64, 1, 7, 7)), rng.uniform(0, 1, (1024, 1024)) ** 8
    own = {
        "Conv": {"blur": (blur / blur.sum((2, 3), keepdims=True)).astype(np.float32)},
        "Resize": {"scales": np.array([1, 1, 4, 4], np.float32)},
        "MatMul": {
            "mixed": (mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float32),
            "row": np.array([0, 64, 1024]),
            "image4": np.array([0, 64, 32, 32]),
        },
    }
    put(model, **own[by])
    nodes = {
        "Conv": [helper.make_node("Conv", ["relu", "blur"], ["blurred"], group=64, pads=[3] * 4)],
        "Resize": [helper.make_node("Resize", ["relu", "", "scales"], ["large"], mode="linear")],
        "MatMul": [
            helper.make_node("Reshape", ["relu", "row"], ["in_a_row"]),
            helper.make_node("MatMul", ["in_a_row", "mixed"], ["product"]),
            helper.make_node("Reshape", ["product", "image4"], ["as_image"]),
        ],
    }
    instead(model, "relu", *nodes[by])
    return model


def moved_again(by: str) -> onnx.ModelProto:
    """The pixels are reordered again and again, each time in another order."""
    model, rng = net(), np.random.default_rng(24)
    nodes, value = [], "relu"
    ys, xs = np.meshgrid(*[(np.arange(32) + 0.5) / 16 - 1] * 2, indexing="ij")
    for i in range(8):
        rows, columns = rng.permutation(32), rng.permutation(32)
        if by == "GridSample":
            put(model, **{f"to{i}": np.stack([xs[:, columns], ys[rows]], -1)[None].astype(np.float32)})
            nodes.append(helper.make_node(by, [value, f"to{i}"], [f"moved{i}"], mode="nearest"))
        else:
            put(model, **{f"to{i}": np.broadcast_to(rows[None, None, :, None], (1, 64, 32, 32)).copy()})
            nodes.append(helper.make_node(by, [value, f"to{i}"], [f"moved{i}"], axis=2))
        value = f"moved{i}"
    instead(model, "relu", *nodes)
    return model


class _Images(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = iter(CONTRACT.batch(textures(0, 32).test, range(32)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image[None]}


def quantized(model: onnx.ModelProto, pairs: bool = True) -> onnx.ModelProto:
    """A quantized model, with pairs of conversions around its operators or with integer operators."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("float.onnx", "integer.onnx")]
        onnx.save(model, str(files[0]))
        form = QuantFormat.QDQ if pairs else QuantFormat.QOperator
        quantize_static(*files, _Images(), quant_format=form, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8)  # fmt: skip
        return onnx.load(str(files[1]))


HIDDEN: dict[str, Callable[[], onnx.ModelProto]] = {
    **{
        f"units of a recurrence, {read}": lambda read=read: recurrent(read)  # type: ignore[misc]
        for read in ("nothing", "constants", "copies", "little")
    },
    "heads of an attention that are the same": same_heads,
    "the same in each trip of a Loop": lambda: in_each_trip("Loop"),
    "the same in each trip of a Scan": lambda: in_each_trip("Scan"),
    "channels reordered by an Einsum": lambda: einsum("dc,nchw->ndhw"),
    "channels reordered by an Einsum over the last axis": lambda: einsum("nhwc,cd->nhwd"),
    "a convolution as a sum of several": summands,
    "channels of the image that are the same": same_inputs,
    "equal branches, one never taken": lambda: in_branches(-9.0),
    "equal branches, both taken": lambda: in_branches(0.0),
    "a product of constants": for_every_sample,
    "channels scaled again and again": scaled_again,
    "channels normalised again and again": lambda: scaled_again("BatchNormalization"),
    "channels shuffled again and again": shuffled_again,
    "channels rolled again and again": lambda: shuffled_again("Slice"),
    "channels mixed before they are averaged": mixed_before_pooling,
    "channels mixed before they are shuffled": mixed_before_a_shuffle,
    "an Einsum beside the channels": uncounted_branch,
    **{f"a frame that a {cut} cuts off": lambda cut=cut: framed(cut) for cut in ("Pad", "Split", "Mul")},  # type: ignore[misc]
    "channels that a GatherND leaves out": gathered_channels,
    **{
        f"channels through a {by} before they are averaged": lambda by=by: before_the_average(by)  # type: ignore[misc]
        for by in ("Conv", "Resize", "MatMul")
    },
    **{
        f"pixels moved by a {by} again and again": lambda by=by: moved_again(by)  # type: ignore[misc]
        for by in ("GatherElements", "GridSample")
    },
    "a transposed convolution with zeros around": transposed_kernels,
    "a stack of one matrix of mostly zeros": stacked_weights,
    "kernels of integers with zeros around": dequantized,
    "a quantized net with zeros around its kernels": lambda: quantized(large_kernels()),
    "a quantized net with unread channels": lambda: quantized(unread_channels()),
    "a quantized net beside a branch": lambda: quantized(beside()),
    "a net on integers with zeros around its kernels": lambda: quantized(large_kernels(), pairs=False),
}
