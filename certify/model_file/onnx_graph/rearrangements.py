"""Operators that reorder the elements of a value repeatedly, where once would be enough."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import onnx

from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.operators import RECURRENT, STANDARD_DOMAINS
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.work import ELEMENT_MACS

MOVING = frozenset(
    {"Concat", "DepthToSpace", "Gather", "GatherElements", "GatherND", "GridSample", "ReverseSequence", "Slice",
     "SpaceToDepth", "Split", "Transpose"}
)  # fmt: skip
FREE = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that move nothing."""
ALLOWED = 2
"""Number of times that each element may be written, because networks roll, slice and transpose values in turn."""


def needless_moves(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, int]:
    """Return the cost of moves beyond those allowed, by the value whose elements were moved last.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    values = infer(model, sample).values
    weights = {tensor.name for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    sources: dict[str, str] = {}
    """For each value, the value whose elements it holds."""
    read: set[str] = set(outputs)
    written: Counter[str] = Counter()
    last: dict[str, str] = {}
    for node in model.graph.node:
        varying = [name for name in used(node) if name not in weights]
        among = {sources.get(name, name) for name in varying}
        moves = node.op_type in MOVING | FREE and node.domain in STANDARD_DOMAINS
        if not moves or len(among) != 1:
            read.update(varying)
            continue
        source = among.pop()
        sources.update(dict.fromkeys(node.output, source))
        if node.op_type in MOVING:
            written[source] += sum(math.prod(values[name].shape) for name in node.output if name in values)
            last[source] = node.output[0]
    needed: defaultdict[str, int] = defaultdict(int)
    for name, source in sources.items():
        if name in read and name in values:
            needed[source] += math.prod(values[name].shape)
    for node in model.graph.node:
        if node.op_type in RECURRENT:  # all steps are moved, though only the last may be read
            for name in set(node.output) & values.keys():
                needed[name] = max(needed[name], math.prod(values[name].shape))
    excess = {source: written[source] - ALLOWED * needed[source] for source in last}
    return {last[source]: ELEMENT_MACS * more for source, more in excess.items() if more > 0}
