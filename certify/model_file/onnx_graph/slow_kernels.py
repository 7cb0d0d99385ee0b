"""Equivalent rewrites of operators that avoid slow kernels of ONNX Runtime's CPU provider.

The rewritten model computes the same sums. This does not cost accuracy and does not count as compression: makers apply
it to what they ship (the pass ``fast_kernels``), and the referee to the baseline (:mod:`certify.measure.simplify`), so
that it favours neither.

**Additions before layer normalisations.** ONNX Runtime fuses an Add and a following LayerNormalization into
SkipLayerNormalization, whose kernel for 32-bit floats adds numbers one by one and accumulates the sums of a whole row
in one variable (``onnxruntime/contrib_ops/cpu/skip_layer_norm.cc``). LayerNormalization alone is vectorised. The fusion
matches Add, and a Sum of two values is equivalent but not matched.

**Masks of attention.** A mask adds a large negative number to the scores of hidden positions, which Softmax turns into
nearly zero. In ONNX Runtime the result is at most exp(-88.4), since its kernel clips the argument there: a denormal
number, with which processors compute about ten times slower. A mask of -50 gives exp(-50), 2e-22, which is also
negligible relative to a sum of at least 1, but is a normal number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS
from certify.model_file.onnx_graph.shapes import constants

NORMALISING = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})
PARTS_OF_NORMALISING = frozenset({"ReduceMean", "Sub"})
"""Operators that read the sum if LayerNormalization is decomposed, as before operator set 17."""
OTHER_FLOATS = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE})
"""Types for which the runtime may have no kernel for Sum; the processor's 16-bit kernel also differs."""
MASKED = -50.0
"""Value of a mask: its exp is 15 orders of magnitude below the rounding error of a sum of 1, and 16 above the smallest
normal number, which leaves room for scores from 37 below to 28 above the largest visible score."""
TOO_LOW = -80.0
"""Constants below this value are masks."""
MOVING = frozenset({"Cast", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that pass a mask on unchanged."""
MASKING = frozenset({"Mul", "Where"})
"""Operators that make a mask from a low constant."""
SUM_BROADCASTS = 8
"""First operator set in which Sum broadcasts like Add."""

Array = npt.NDArray[np.float32]


def sums_before_norms(model: onnx.ModelProto) -> int:
    """Replace each Add before a layer normalisation by a Sum, in place, if all floats have 32 bits.

    Args:
        model: model without functions; subgraphs of branches and loops are not changed.

    Returns:
        Number of replaced operators.

    Example:
        >>> node = onnx.helper.make_node("Relu", ["x"], ["y"])
        >>> ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
        >>> sums_before_norms(onnx.helper.make_model(onnx.helper.make_graph([node], "graph", ports[:1], ports[1:])))
        0
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    # Any weight of another float type rules this out, because the types of inner values are not known here.
    if max(versions, default=0) < SUM_BROADCASTS or any(t.data_type in OTHER_FLOATS for t in constants(model.graph)):
        return 0
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.input:
            readers.setdefault(node.input[0], set()).add(node.op_type)
    found = [node for node in model.graph.node if _is_read_by_norm(node, readers)]
    for node in found:
        # Only the type changes: with two inputs both operators compute the same.
        node.op_type = "Sum"
    return len(found)


def shallow_masks(model: onnx.ModelProto) -> int:
    """Limit attention masks to -50, in place.

    Args:
        model: model without functions; subgraphs of branches and loops are not changed.

    Returns:
        Number of changed constants.

    Example:
        >>> node = onnx.helper.make_node("Softmax", ["x"], ["y"])
        >>> ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
        >>> shallow_masks(onnx.helper.make_model(onnx.helper.make_graph([node], "graph", ports[:1], ports[1:])))
        0
    """
    values = dict(_floats(model.graph))
    producers = {name: node for node in model.graph.node for name in node.output}
    scored = [producers.get(node.input[0]) for node in model.graph.node if node.op_type == "Softmax"]
    places = {
        (node.output[0], index): (node, index)
        for added in scored
        if added is not None and added.op_type == "Add"
        for node, index in _masking(added, producers, values)
    }
    raised: dict[str, str] = {}
    for node, index in places.values():
        old = node.input[index]
        # One raised copy per mask, because several attentions usually share it.
        node.input[index] = raised.setdefault(old, f"{old}.shallow")
    for old, name in raised.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.maximum(values[old], MASKED), name))
    _drop_unread(model.graph, raised)
    return len(raised)


def _drop_unread(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Remove unused constants among some names, since runtimes would warn about them."""
    read = {name for node in graph.node for name in used(node)}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names and tensor.name not in read]:
        graph.initializer.remove(tensor)


def _floats(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    """Yield 32-bit float constants, by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    for name, tensor in tensors.items():
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.data_location != onnx.TensorProto.EXTERNAL:
            yield name, onnx.numpy_helper.to_array(tensor)


def _masking(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], values: Mapping[str, Array]
) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Find the constants by which operators lower scores: nodes and the indices of their inputs."""
    for index, name in enumerate(node.input):
        source = producers.get(name)
        if _is_low(values.get(name)):
            yield node, index
        elif source is not None and source.op_type in MOVING:
            yield from _masking(source, producers, values)
        elif source is not None and source.op_type in MASKING:
            yield from ((source, place) for place, operand in enumerate(source.input) if _is_low(values.get(operand)))


def _is_low(array: Array | None) -> bool:
    return array is not None and array.size > 0 and float(array.min()) < TOO_LOW


def _is_read_by_norm(node: onnx.NodeProto, readers: Mapping[str, set[str]]) -> bool:
    if node.op_type != "Add" or node.domain not in STANDARD_DOMAINS:
        return False
    seen = readers.get(node.output[0], set())
    # A decomposed normalisation subtracts the mean of the sum from the sum.
    return bool(seen & NORMALISING) or seen >= PARTS_OF_NORMALISING


FORMS: Mapping[str, Callable[[onnx.ModelProto], int]] = {
    "Add before a layer normalisation as Sum": sums_before_norms,
    "mask of attention that lowers scores by no more than 50": shallow_masks,
}
"""Rewrites: a description, and the function that applies it in place and returns the number of changes."""
