"""Operators that keep ONNX Runtime off slow kernels where floats meet integers, and leave every value as it is."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from compress.core.onnx_reads import readers_of

MOVED_PAST = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"})
"""Operators to whose input ONNX Runtime moves the rounding of their output."""
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
ACTIVATIONS = frozenset({"Clip", "Relu"})
"""Activations that the rounding of their output may include."""
JOINING = frozenset({"Add", "Concat", "Mul"})
"""Operators with which a shortcut around convolutions ends."""
SHORTCUTS = JOINING | {"AveragePool", "MaxPool", "Slice"}
"""Operators besides convolutions with which it may begin."""
SAME_SHAPE = "leanmark.same_shape"

Nodes = dict[str, onnx.NodeProto]
Readers = dict[str, list[onnx.NodeProto]]


def round_after_pools(graph: onnx.GraphProto) -> None:
    """Put a Sum of one input behind each max pool of floats whose output is rounded, in place.

    ONNX Runtime would move the rounding to where the pool reads, but does not move it past a Sum. Behind a float layer
    it pools bytes channel by channel, which takes ten times as long as pooling floats.
    """
    producers, readers = _producers(graph), readers_of(graph)
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        name, maker = pool.output[0], producers.get(pool.input[0])
        kinds = [reader.op_type for reader in _readers_behind(name, readers, MOVED_PAST)]
        if kinds == ["QuantizeLinear"] and (maker is None or maker.op_type != "DequantizeLinear"):
            pool.output[0] = f"{name}.floats"
            graph.node.append(onnx.helper.make_node("Sum", [pool.output[0]], [name], f"{pool.name}.sum"))


def restore_once(graph: onnx.GraphProto) -> None:
    """Put a Sum of one input behind integers that several operators in floats read, as in a residual block, in place.

    ONNX Runtime would convert them once for each reader, and would round what the shortcut takes once more. It runs a
    float convolution between two roundings on integers, with weights that it rounds itself; that stays so.
    """
    producers, readers = _producers(graph), readers_of(graph)

    def in_floats(reader: onnx.NodeProto, name: str) -> bool:
        if reader.op_type == "Conv":
            behind = _readers_behind(reader.output[0], readers, ACTIVATIONS)
            is_rounded = any(each.op_type == "QuantizeLinear" for each in behind)
            return _has_float_weight(reader, producers) and not is_rounded
        makers = [producers[each] for each in reader.input if each != name and each in producers]
        return reader.op_type in JOINING and any(maker.op_type != "DequantizeLinear" for maker in makers)

    for name, own in readers.items():
        restored = producers.get(name)
        floats = [reader for reader in own if in_floats(reader, name)]
        if restored is None or restored.op_type != "DequantizeLinear" or len(floats) < 2:
            continue
        for reader in floats:
            reader.input[:] = [f"{name}.once" if each == name else each for each in reader.input]
        graph.node.append(onnx.helper.make_node("Sum", [name], [f"{name}.once"], f"{name}.once"))


def order_as_integers(graph: onnx.GraphProto) -> None:
    """Put the channels of images in floats last before a residual block in integers, and first again, in place.

    ONNX Runtime keeps the channels last between convolutions in integers, and adds two such values only if both come
    from a transposition. A shortcut from floats does not, so the sum of each residual block behind it would have the
    channels first, between two transpositions. The two here cancel with those of the convolutions; the Reshape between
    them, which changes nothing, keeps the runtime from cancelling them with each other before. If the size of the batch
    is fixed, the runtime leaves out the Reshape, and nothing is gained or lost.
    """
    producers, readers = _producers(graph), readers_of(graph)
    kernels = {tensor.name for tensor in graph.initializer if len(tensor.dims) == len(CHANNELS_LAST)}
    for rounding in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        name = rounding.input[0]
        restored = [node for node in readers.get(rounding.output[0], ()) if node.op_type == "DequantizeLinear"]
        found = [reader for node in restored for reader in readers.get(node.output[0], ())]
        convolutions = [node for node in found if node.op_type == "Conv" and _weight(node, producers) in kernels]
        shortcut = convolutions and any(node.op_type in SHORTCUTS for node in found)
        if not shortcut or not _is_of_float_convolution(name, producers):
            continue
        computed, last, same = (f"{name}.{each}" for each in ("computed", "channels_last", "reshaped"))
        if not any(tensor.name == SAME_SHAPE for tensor in graph.initializer):
            # 0 stands for the size that a dimension has.
            graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4, np.int64), SAME_SHAPE))
        maker = producers[name]
        maker.output[:] = [computed if each == name else each for each in maker.output]
        graph.node.extend(
            (
                onnx.helper.make_node("Transpose", [computed], [last], last, perm=CHANNELS_LAST),
                onnx.helper.make_node("Reshape", [last, SAME_SHAPE], [same], same),
                onnx.helper.make_node("Transpose", [same], [name], f"{name}.channels_first", perm=CHANNELS_FIRST),
            )
        )


def _readers_behind(name: str, readers: Readers, passed: Collection[str]) -> list[onnx.NodeProto]:
    """Return what reads a value, behind the operators of some kinds that alone read it."""
    found = readers.get(name, [])
    while len(found) == 1 and found[0].op_type in passed:
        found = readers.get(found[0].output[0], [])
    return found


def _is_of_float_convolution(name: str, producers: Nodes) -> bool:
    """Return whether a value comes from a convolution in floats, with no integers in between."""
    waiting, seen = [name], set[str]()
    while waiting:
        value = waiting.pop()
        node = producers.get(value)
        if value in seen or node is None or node.op_type == "DequantizeLinear":
            continue
        seen.add(value)
        if node.op_type == "Conv":
            return _has_float_weight(node, producers)
        waiting += node.input
    return False


def _weight(node: onnx.NodeProto, producers: Nodes) -> str:
    """Return the name of a convolution's weight, in floats or integers."""
    maker = producers.get(node.input[1])
    return str(node.input[1] if maker is None else maker.input[0])


def _has_float_weight(node: onnx.NodeProto, producers: Nodes) -> bool:
    weight = producers.get(node.input[1])
    return weight is None or weight.op_type != "DequantizeLinear"


def _producers(graph: onnx.GraphProto) -> Nodes:
    return {name: node for node in graph.node for name in node.output}
