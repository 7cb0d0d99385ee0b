"""Selection of the operators to quantize, and ONNX Runtime's quantizer with our own ranges."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx

from certify.core.errors import ModelError
from certify.core.evidence import DEFAULT_RUNTIME
from compress.core.onnx_reads import drop_unread, readers_of
from compress.core.onnx_session import failures, reason
from compress.core.targets import Target
from compress.onnx_graph.graph import COMPUTE, Graph, sort_nodes
from compress.onnx_graph.whole_gates import leave_to_convolutions, write_as_clips
from compress.quantization.post_training.float_borders import order_as_integers, restore_once, round_after_pools
from compress.quantization.post_training.hard_gates import read_codes_as_gates
from compress.quantization.post_training.score_products import score_products, signed_symmetric
from compress.quantization.post_training.weight_codes import OPTIONS, with_codes, with_stand_ins

Operators = Literal["auto", "all", "weights"]

NORMALISED = frozenset(
    {"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "SkipLayerNormalization"}
)
FREE_OUTPUTS = ("MatMul", "Gemm")
"""Operators whose integer kernels return floats, if their output is used as floats anyway."""
REMOVABLE = frozenset({"Relu", "Clip"})
"""Activations that the quantizer removes, because the range of their output has the same effect."""


@dataclass(frozen=True)
class QuantizationPlan:
    """Selection of what becomes integers.

    Attributes:
        kinds: types of operators.
        excluded: names of nodes of these types that stay float.
        free_outputs: types whose outputs stay float.
        scores: names of products of queries and keys that become integers.
    """

    kinds: frozenset[str]
    excluded: tuple[str, ...]
    free_outputs: tuple[str, ...]
    scores: tuple[str, ...] = ()


def plan(
    graph: Graph, target: Target, operators: Operators, kept: Collection[str], *, scores: bool = False
) -> QuantizationPlan:
    """Choose what is quantized.

    In a network with layer normalisation or attention only operators with weights are quantized: rounding the inputs of
    LayerNorm, Softmax or GELU costs most of the accuracy (Bondarenko et al. 2021, arXiv 2109.12948), and their integer
    forms are not faster. In other networks everything between two convolutions is.

    Args:
        graph: the float model.
        target: target whose kernels count.
        operators: ``weights``, ``all``, or ``auto`` for the rule above.
        kept: names of nodes that stay float.
        scores: whether products of queries and keys become integers too, where the target runs them faster.
    """
    only_weights = operators == "weights" or (operators == "auto" and is_transformer(graph))
    if not only_weights:
        return QuantizationPlan(
            target.operators, tuple(kept), () if target.quantize_outputs else tuple(sorted(target.operators))
        )
    kinds = COMPUTE & target.operators
    # Products of two activations, as in attention, have no weight to quantize.
    products = score_products(graph) if scores and target.quantize_scores else ()
    chosen = tuple(name for name in products if name not in kept)
    loose = [node.name for node in graph.nodes if node.op_type in kinds and not graph.has_weight(node)]
    excluded = dict.fromkeys((*kept, *(name for name in loose if name not in chosen)))
    free = FREE_OUTPUTS if target.quantize_outputs else tuple(sorted(kinds))
    return QuantizationPlan(kinds, tuple(excluded), free, chosen)


def is_transformer(graph: Graph) -> bool:
    """Return whether a graph has layer norms, or multiplies activations with each other as attention does."""
    products = [node for node in graph.nodes if node.op_type == "MatMul"]
    between = any(not any(name in graph.tensors for name in node.input) for node in products)
    # Exporters may write a LayerNorm as single operators, which only the products of activations reveal.
    return between or any(node.op_type in NORMALISED for node in graph.nodes)


def observed_names(graph: Graph, plan: QuantizationPlan) -> list[str]:
    """Return the values whose ranges the quantizer needs, in the order of the graph.

    The input of a ReLU that nothing else reads gets the range of its output. Products whose outputs stay float need
    none for them.
    """
    wanted: dict[str, None] = {}
    free = set(FREE_OUTPUTS).intersection(plan.free_outputs)
    for node in graph.nodes:
        if node.op_type in plan.kinds and node.name not in plan.excluded:
            names = node.input if node.op_type in free else (*node.input, *node.output)
            wanted.update(dict.fromkeys(name for name in names if graph.is_float(name)))
    return [name for name in wanted if _removable_after(graph, plan, name) not in wanted]


def quantized(
    model: onnx.ModelProto,
    plan: QuantizationPlan,
    ranges: Mapping[str, tuple[float, float]],
    target: Target,
    *,
    per_channel: bool,
) -> onnx.ModelProto:
    """Insert Q/DQ pairs around the chosen operators.

    Args:
        model: prepared float model; not modified.
        plan: selection of what becomes integers.
        ranges: low and high end of every value from :func:`observed_names`.
        target: types, symmetry and range of the weights.
        per_channel: whether each output channel of a weight has its own scale.

    Raises:
        ModelError: ONNX Runtime's quantizer cannot handle the model.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    types = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
    graph = Graph(model)
    filled = dict(ranges)
    for node in reversed(graph.nodes):  # removable nodes may follow each other
        if node.op_type in REMOVABLE and node.output[0] in filled:
            # The quantizer requires a range for the input too, although it removes the activation between them.
            filled.setdefault(node.input[0], filled[node.output[0]])
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in filled.items()}
    small = with_stand_ins(model, plan.kinds, target, per_channel=per_channel)
    add_infer_metadata(small.model)  # otherwise the quantizer infers the shapes again, from files
    options: dict[str, Any] = {
        **OPTIONS,
        "TensorQuantOverrides": small.scales | signed_symmetric(graph, plan.scores),
        "ActivationSymmetric": target.symmetric,
        "QuantizeBias": target.quantize_bias,
        "OpTypesToExcludeOutputQuantization": list(plan.free_outputs),
    }
    try:
        quantizer = QDQQuantizer(
            small.model,
            per_channel,
            target.reduce_range,
            types[target.weight_type],
            types[target.activation_type],
            TensorsData(CalibrationMethod.MinMax, data),
            [],
            list(plan.excluded),
            sorted(plan.kinds),
            options,
        )
        quantizer.quantize_model()
    except failures() as error:
        raise ModelError(f"ONNX Runtime could not quantize the model ({reason(error)}).") from error
    integers = with_codes(quantizer.model.model, small.weights)
    _round_before_blocks(integers.graph)
    _leave_outputs_float(integers.graph)
    if target.runtime == DEFAULT_RUNTIME:
        round_after_pools(integers.graph)
        restore_once(integers.graph)
        order_as_integers(integers.graph)
    if target.fuses_gates:
        leave_to_convolutions(integers)
        write_as_clips(integers)
    else:
        read_codes_as_gates(integers)
    _leave_out_zeros(integers)
    # The quantizer appends its nodes, and the rewrites insert theirs, without sorting them.
    sort_nodes(integers.graph)
    return integers


def _round_before_blocks(graph: onnx.GraphProto) -> None:
    """Let SpaceToDepth, which only moves values, move bytes; its output does not change."""
    readers = readers_of(graph)
    for node in graph.node:
        reader = readers[node.output[0]][0] if len(readers.get(node.output[0], ())) == 1 else None
        if node.op_type != "SpaceToDepth" or reader is None or reader.op_type != "QuantizeLinear":
            continue
        moved, rounded = copy.deepcopy(node), copy.deepcopy(reader)
        rounded.input[0], rounded.output[0] = node.input[0], f"{node.output[0]}.rounded"
        moved.input[0], moved.output[0] = rounded.output[0], reader.output[0]
        node.CopyFrom(rounded)
        reader.CopyFrom(moved)


def _leave_outputs_float(graph: onnx.GraphProto) -> None:
    """Remove the rounding of model outputs where the kernel before them already has the floats."""
    producers = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    scales: set[str] = set()
    for output in graph.output:
        restored = producers.get(output.name)
        if restored is None or restored.op_type != "DequantizeLinear" or output.name in readers:
            continue
        rounded = producers.get(restored.input[0])
        source = producers.get(rounded.input[0]) if rounded is not None else None
        if rounded is None or source is None or source.op_type not in FREE_OUTPUTS:
            continue
        # Another reader needs the rounded value.
        if len(readers[source.output[0]]) == len(readers[rounded.output[0]]) == 1:
            source.output[0] = output.name
            graph.node.remove(restored)
            graph.node.remove(rounded)
            scales |= {*rounded.input[1:], *restored.input[1:]}
    # Shared scales stay as long as another node reads them.
    scales -= {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in scales]:
        graph.initializer.remove(tensor)  # unused now, which runtimes would warn about


def _leave_out_zeros(model: onnx.ModelProto) -> None:
    """Remove the zero points of symmetric weights and of biases, one code for each channel, which are the default.

    The type is that of the codes. ONNX Runtime adds one zero for the whole weight before it fuses a convolution or a
    matrix product, but its rule for Gemm requires the weight's.
    """
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "DequantizeLinear" or len(node.input) < 3 or node.input[0] not in graph.tensors:
            continue
        bias = graph.tensors[node.input[0]].data_type == onnx.TensorProto.INT32
        readers = {reader.op_type for reader in graph.consumers.get(node.output[0], ())}
        zero = graph.constant(node.input[2])
        if (bias or readers <= {"Conv", "MatMul"}) and zero is not None and not zero.any():
            del node.input[2]
    drop_unread(model.graph)


def _removable_after(graph: Graph, plan: QuantizationPlan, name: str) -> str | None:
    """Return the output of the ReLU or Clip that is the only reader of a value and is quantized itself."""
    reader = graph.only_consumer(name)
    removable = reader is not None and reader.op_type in REMOVABLE & plan.kinds and reader.name not in plan.excluded
    return reader.output[0] if removable and reader is not None else None
