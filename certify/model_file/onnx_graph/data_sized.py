"""Operators whose output size depends on the input data.

They make work depend on the data even without control flow: NonZero or Compress may select one row for one sample and
none for another, and all further work scales with it. Sizes computed only from other sizes (by Shape) are the same for
every sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import onnx

from certify.model_file.onnx_graph.operators import CONTRIB_DOMAIN, STANDARD_DOMAINS

PICKING = frozenset(
    {"Compress", "ImageDecoder", "NonMaxSuppression", "NonZero", "RemovePadding", "StringSplit", "Unique"}
)
"""Operators with a data-dependent number of output elements."""
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
SIZES: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "Attention": (6,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "ConvTransposeWithDynamicPads": (2,),
    "CropAndResize": (1, 3),
    "DFT": (1, 2),
    "DynamicQuantizeLSTM": (4,),
    "Dropout": (2,),
    "Expand": (1,),
    "GRU": (4,),
    "GroupQueryAttention": (5, 6),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "LSTM": (4,),
    "MaxRoiPool": (1,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1, 3),
    "RNN": (4,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "RoiAlign": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "STFT": (1, 3),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "SequenceInsert": (2,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **{f"Reduce{name}": (1,) for name in REDUCTIONS},
}
"""Inputs that determine the size of the output, or how many steps of a sequence or elements of a region are computed.

Elements of a sequence have different sizes, so the position of an element determines a size too."""
FIXED_SIZED = frozenset(
    {"Attention", "BiasAdd", "BiasGelu", "BiasSoftmax", "BiasSplitGelu", "CDist", "DequantizeLinear",
     "DynamicQuantizeMatMul", "EmbedLayerNormalization", "ExpandDims", "FastGelu", "FusedConv", "FusedGemm",
     "FusedMatMul", "GatedRelativePositionBias", "GatherBlockQuantized", "GatherND", "Gelu", "GridSample", "GroupNorm",
     "Inverse", "LayerNormalization", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger16", "MatMulIntegerToFloat",
     "MatMulNBits", "MaxpoolWithMask", "MoE", "MultiHeadAttention", "NhwcConv", "NhwcFusedConv", "NhwcMaxPool",
     "QAttention", "QEmbedLayerNormalization", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
     "QLinearConv", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMatMul", "QLinearMul", "QLinearReduceMean",
     "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QMoE", "QuantizeLinear", "QuickGelu", "RelativePositionBias",
     "RotaryEmbedding", "SimplifiedLayerNormalization", "SkipGroupNorm", "SkipLayerNormalization",
     "SkipSimplifiedLayerNormalization", "TransposeMatMul", "Trilu"}
)  # fmt: skip
"""ONNX Runtime's own operators whose sizes follow from shapes and attributes, apart from inputs in SIZES. Any other
operator outside the standard may depend on the values that it reads."""
STATED_DOMAINS = STANDARD_DOMAINS | {"ai.onnx.ml", "com.microsoft.nchwc"}
"""Domains in which an operator's size depends on the data only as stated here."""
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators with random results, which tell a file how often its process has run it."""
TRAINING_INPUT = 2
"""Index of the input that makes a Dropout random."""
SHAPES = frozenset({"Shape", "Size"})


def data_sized(graph: onnx.GraphProto, fixed: Collection[str]) -> list[str]:
    """Return the types of operators of a graph, without subgraphs, whose output size depends on the data.

    Args:
        graph: graph in topological order; inputs with an initializer are constants.
        fixed: names of values that do not depend on the data.
    """
    constants = {tensor.name for tensor in graph.initializer} | set(fixed)
    false = false_constants(graph)
    varying = {value.name for value in graph.input} - constants
    """Values that depend on the data."""
    sized: set[str] = set()
    """Values whose size depends on the data."""
    found = []
    for node in graph.node:
        taken = set(used(node))
        outputs = {name for name in node.output if name} - set(fixed)
        if node.op_type in SHAPES and node.domain in STANDARD_DOMAINS:
            varying |= outputs if taken & sized else set()
            continue
        if taken & varying or is_random(node, false):
            varying |= outputs
        if taken & sized:
            sized |= outputs
        picks = (node.op_type in PICKING or not _is_known(node)) and bool(taken & varying)
        if picks or any(name in varying for name in _sizes(node)):
            found.append(node.op_type)
            sized |= outputs
    return found


def is_random(node: onnx.NodeProto, false: Collection[str]) -> bool:
    """Return whether chance determines the results of an operator.

    Args:
        node: operator of a graph.
        false: names of the graph's constants that are false.
    """
    if node.op_type == "Dropout" and len(node.input) > TRAINING_INPUT and node.input[TRAINING_INPUT]:
        return node.input[TRAINING_INPUT] not in false
    return node.op_type in RANDOM


def false_constants(graph: onnx.GraphProto) -> set[str]:
    """Return the names of single constants of a graph that are false."""
    named = [(tensor.name, tensor) for tensor in graph.initializer]
    named += [(node.output[0], a.t) for node in graph.node for a in node.attribute if node.op_type == "Constant"]
    return {name for name, tensor in named if tensor.data_type == onnx.TensorProto.BOOL and not _is_true(tensor)}


def _is_true(tensor: onnx.TensorProto) -> bool:
    # External data are read nowhere here, so that they count as true.
    return bool(tensor.external_data) or any(tensor.raw_data) or any(tensor.int32_data)


def _sizes(node: onnx.NodeProto) -> Iterator[str]:
    if node.domain in STANDARD_DOMAINS | {CONTRIB_DOMAIN}:
        yield from (node.input[i] for i in SIZES.get(node.op_type, ()) if i < len(node.input) and node.input[i])


def _is_known(node: onnx.NodeProto) -> bool:
    return node.domain in STATED_DOMAINS or node.domain == CONTRIB_DOMAIN and node.op_type in FIXED_SIZED | SIZES.keys()


def used(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the names of the values that a node reads, including those captured by its subgraphs."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from captured(graph)


def reader_counts(graph: onnx.GraphProto) -> Counter[str]:
    """Return how often each value is read, by nodes and as an output of the graph."""
    counts = Counter(name for node in graph.node for name in used(node))
    counts.update(value.name for value in graph.output)
    return counts


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs in a node's attributes."""
    return [graph for attribute in node.attribute for graph in _graphs(attribute)]


def _graphs(attribute: onnx.AttributeProto) -> Iterable[onnx.GraphProto]:
    if attribute.type == onnx.AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def captured(graph: onnx.GraphProto) -> set[str]:
    """Return the names of outer values that a subgraph reads."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = {name for node in graph.node for name in used(node)} | {value.name for value in graph.output}
    return read - own
