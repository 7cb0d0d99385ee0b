"""Recording several things in one run of a model: ranges, means and outputs cost one run of the samples, not three."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Feed, Graph, integer_tensors, probe


class Recorder(Protocol):
    """Operators that are added to a model, and what is kept of their outputs."""

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """Added operators."""

    @property
    def tensors(self) -> Mapping[str, Array]:
        """Their integer constants; recorders may share one of the same name and values."""

    @property
    def outputs(self) -> Sequence[str]:
        """Values that are recorded, of the model or of the added operators."""

    def add(self, found: Mapping[str, Array], samples: int) -> None:
        """Record the values of one batch.

        Raises:
            ModelError: a value cannot be used.
        """


class OutputRecorder:
    """Keeps one value of the graph for all samples.

    Args:
        name: its name.
    """

    nodes: Sequence[onnx.NodeProto] = ()
    tensors: Mapping[str, Array] = {}

    def __init__(self, name: str) -> None:
        self.outputs = (name,)
        self._parts: list[Array] = []

    def add(self, found: Mapping[str, Array], samples: int) -> None:
        """See :meth:`Recorder.add`."""
        self._parts.append(found[self.outputs[0]])

    @property
    def values(self) -> Array:
        """The values so far, one row per sample."""
        return np.concatenate(self._parts)


def record(
    graph: Graph,
    recorders: Sequence[Recorder],
    feeds: Iterable[Feed],
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Run a model once on all feeds for all recorders.

    Args:
        graph: graph of the model that runs.
        recorders: what is recorded.
        feeds: inputs, one batch at a time.
        advance: called with 1 after each batch.

    Raises:
        ModelError: the model does not run, or a recorder cannot use a value.
    """
    sizes: list[int] = []

    def counted() -> Iterator[Feed]:
        for feed in feeds:
            sizes.append(len(next(iter(feed.values()))))
            yield feed

    outputs = list(dict.fromkeys(name for each in recorders for name in each.outputs))
    nodes = [node for each in recorders for node in each.nodes]
    tensors = {name: values for each in recorders for name, values in each.tensors.items()}
    for found in probe(graph.model, outputs, counted(), nodes, integer_tensors(tensors)):
        for each in recorders:
            each.add(found, sizes[-1])
        advance(1)
