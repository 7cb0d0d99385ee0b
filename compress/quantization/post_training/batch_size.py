"""Number of calibration samples per run, from the size of their activations and the free memory.

More samples per run only save the runtime's cost of a call, which is small beside that of computing 4 samples.
ResNet-50 at 224 x 224 gives the same file, byte for byte, from runs of 1, 4 and 16 samples, and 16 take 2.6 times the
memory of 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx

from compress.core.onnx_reads import reads
from compress.onnx_graph.graph import Graph

MOST = 4
"""Maximum number of samples per run."""
ROOM = 12 * 1024 * 1024
"""Bytes of activations per run, if more is free; one sample of a network for images of 224 x 224 takes 6 to 10 MB."""
SHARE = 1 / 16
"""Share of free memory for the activations of a run: the runtime rounds up what it reserves."""
UNKNOWN = 4
"""Samples per run if the sizes of activations are unknown."""


@dataclass(frozen=True)
class BatchSize:
    """Number of samples per run of the model, and its reason.

    Attributes:
        samples: number of samples.
        activation_bytes: peak size of the activations of one sample; None if their sizes are unknown.
    """

    samples: int
    activation_bytes: int | None


def choose_batch(graph: Graph, free: float, most: int = MOST) -> BatchSize:
    """Choose the largest power of two of samples whose activations fit into memory.

    Args:
        graph: graph of the model, whose batch may be free.
        free: free bytes, from :func:`compress.core.free_memory.free_bytes`.
        most: maximum number of samples per run.

    Example:
        With 8 GB free, a network with 9.6 MB of live activations gets 1 sample per run.
    """
    needed = live_bytes(graph)
    if needed is None:
        return BatchSize(UNKNOWN, None)
    fitting = min(ROOM, SHARE * free) / max(1, needed)
    return BatchSize(2 ** int(math.log2(min(most, max(1.0, fitting)))), needed)


def live_bytes(graph: Graph) -> int | None:
    """Return the peak bytes of the live values of one sample, each kept from its producer to its last reader.

    Returns:
        None if the size of a value is unknown. A free first dimension counts as one sample.
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
        # A value that nothing reads ends where it is computed.
        ended = {name for name in (*reads(node), *node.output) if name in sizes and last.get(name, index) == index}
        live -= sum(sizes[name] or 0 for name in ended - graph.outputs)
    return most


def _bytes(graph: Graph, name: str) -> int | None:
    """Return the bytes of a value for one sample."""
    shape, kind = graph.shape(name), graph.types.get(name)
    if shape is None or kind is None or not all(shape[1:]):
        return None
    item = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
    return math.prod((shape[0] or 1, *shape[1:])) * item if shape else item
