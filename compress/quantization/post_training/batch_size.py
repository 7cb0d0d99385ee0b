"""How many calibration samples run at a time, from what their activations take and what is free.

More samples in a run save nothing but the runtime's cost of a call, which counts for small networks alone. ResNet-50 at
224 x 224 gets the same file, byte for byte, from runs of 1, 4 and 16 samples, and 16 take 2.6 times the memory of 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx

from compress.onnx_graph.graph import Graph, reads

MOST = 16
"""Samples in a run."""
ROOM = 48 * 1024 * 1024
"""Bytes of activations in a run, where more is free."""
SHARE = 1 / 16
"""Of what is free that the activations of a run may take: the runtime rounds up what it reserves."""
UNKNOWN = 4
"""Samples in a run where the sizes of activations are not known."""


@dataclass(frozen=True)
class BatchSize:
    """Samples in one run of the model, and why.

    Attributes:
        samples: their number.
        activation_bytes: most that the activations of one sample take at a time; None where their sizes are not known.
    """

    samples: int
    activation_bytes: int | None


def choose_batch(graph: Graph, free: float, most: int = MOST) -> BatchSize:
    """The most samples, a power of two, whose activations fit into their room.

    Args:
        graph: whose batch may be free.
        free: bytes, of :func:`compress.core.free_memory.free_bytes`.
        most: samples in a run.

    Example:
        A network with 9.6 MB of activations at a time gets 4 samples a run where 8 GB are free.
    """
    needed = live_bytes(graph)
    if needed is None:
        return BatchSize(UNKNOWN, None)
    fitting = min(ROOM, SHARE * free) / max(1, needed)
    return BatchSize(2 ** int(math.log2(min(most, max(1.0, fitting)))), needed)


def live_bytes(graph: Graph) -> int | None:
    """Most bytes that the values of one sample take at a time, each kept from its making to its last reading.

    Returns:
        None where the size of a value is not known. A free first dimension counts as one sample.
    """
    last = {name: index for index, node in enumerate(graph.nodes) for name in reads(node)}
    sizes = {name: _bytes(graph, name) for node in graph.nodes for name in node.output if name}
    sizes |= {value.name: _bytes(graph, value.name) for value in graph.model.graph.input}
    live = sum(sizes[value.name] or 0 for value in graph.model.graph.input if value.name not in graph.tensors)
    most = live
    for index, node in enumerate(graph.nodes):
        for name in filter(None, node.output):
            size = sizes[name]
            if size is None:
                return None
            live += size
        most = max(most, live)
        ended = {name for name in (*reads(node), *node.output) if name in sizes and last.get(name, index) == index}
        live -= sum(sizes[name] or 0 for name in ended - graph.outputs)
    return most


def _bytes(graph: Graph, name: str) -> int | None:
    """Bytes of a value for one sample."""
    shape, kind = graph.shape(name), graph.types.get(name)
    if shape is None or kind is None or not all(shape[1:]):
        return None
    item = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
    return math.prod((shape[0] or 1, *shape[1:])) * item if shape else item
