"""Running an ONNX graph section by section on all samples, each operator once, in constant memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compress.core import onnx_session
from compress.core.onnx_reads import reads
from compress.onnx_graph.graph import Array, Feed, Graph
from compress.pruning.value_store import ArrayShelf


def execution_order(graph: Graph, late: Collection[str] = ()) -> list[onnx.NodeProto]:
    """Return the nodes, each after those whose values it reads.

    Args:
        graph: graph of the model.
        late: values that are computed as late as possible: if a node reads one and others, the others come first.
    """
    order: list[onnx.NodeProto] = []
    done: set[str] = set()
    ends = [graph.producers[value.name] for value in graph.model.graph.output if value.name in graph.producers]
    # Depth first with an explicit stack, because deep graphs exceed Python's recursion limit. Outputs go first.
    waiting = [(node, False) for node in (*reversed(graph.nodes), *reversed(ends))]
    while waiting:
        node, ready = waiting.pop()
        own = node.output[0]
        if own in done:
            continue
        if ready:
            done.add(own)
            order.append(node)
            continue
        waiting.append((node, True))
        before = [name for name in reads(node) if name in graph.producers]
        before.sort(key=lambda name: name in late)
        waiting += [(graph.producers[name], False) for name in reversed(before)]
    return order


class FileLane:
    """One graph on all samples, in batches: only values that later steps need are kept.

    Used as a context manager, it removes its temporary files.

    Args:
        graph: graph to run; constants are read when the nodes that use them run.
        order: order of its nodes.
        feeds: inputs, one batch at a time.
        later: values that will be requested, once per occurrence; others can be requested until something that depends
            on them is requested.
    """

    def __init__(
        self, graph: Graph, order: Iterable[onnx.NodeProto], feeds: Iterable[Feed], later: Iterable[str] = ()
    ) -> None:
        self._graph, self._order = graph, list(order)
        self._feeds = feeds
        self._later = Counter(later)
        self._run: set[str] = set()
        self._readers = _readers(self._order)
        self._stack = contextlib.ExitStack()
        self._shelf: ArrayShelf[str] | None = None
        self._count = 0

    def __enter__(self) -> FileLane:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="leanmark-"))
        self._next: ArrayShelf[str] = ArrayShelf(Path(folder))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def values(self, *wanted: str) -> Iterator[list[Array]]:
        """Yield the requested values of one batch after the other; must be read to the end.

        Raises:
            ModelError: ONNX Runtime cannot load or run a part of the graph.
        """
        self._later.subtract(wanted)
        session: Any = None
        nodes: list[onnx.NodeProto] = []
        outputs: list[str] = []
        run = self._run
        for batch, values in enumerate(self._batches()):
            # Only the first batch shows which values are known; all batches have the same ones.
            if batch == 0:
                nodes = self._needed(wanted, values)
                run = self._run | {node.output[0] for node in nodes}
                inside = [name for node in nodes for name in node.output if name]
                outputs = [name for name in inside if name in wanted or self._waits(name, run)]
                session = self._session(nodes, values, outputs) if nodes else None
            if session is not None:
                taken = {value.name: values[value.name] for value in session.get_inputs()}
                values |= dict(zip(outputs, onnx_session.run(session, outputs, taken), strict=True))
            yield [values[name] for name in wanted]
            self._next.put(batch, {name: value for name, value in values.items() if self._waits(name, run)})
            self._count = max(self._count, batch + 1)
        self._run, self._shelf = run, self._next

    def _batches(self) -> Iterator[dict[str, Array]]:
        if self._shelf is None:
            for feed in self._feeds:
                yield dict(feed)
        else:
            for batch in range(self._count):
                yield self._shelf.take(batch)

    def _waits(self, name: str, run: set[str]) -> bool:
        """Return whether a value will be requested, or is read by a node that has not run yet."""
        return self._later[name] > 0 or any(reader not in run for reader in self._readers.get(name, ()))

    def _needed(self, wanted: Iterable[str], known: Collection[str]) -> list[onnx.NodeProto]:
        """Return the nodes that the requested values need and that have not run, in order."""
        waiting = [name for name in wanted if name not in known]
        needed: set[str] = set()
        while waiting:
            node = self._graph.producers[waiting.pop()]
            if node.output[0] not in needed:
                needed.add(node.output[0])
                waiting += [name for name in reads(node) if name in self._graph.producers and name not in known]
        return [node for node in self._order if node.output[0] in needed]

    def _session(self, nodes: list[onnx.NodeProto], values: dict[str, Array], outputs: list[str]) -> Any:
        whole = self._graph.model
        model = onnx.ModelProto(ir_version=whole.ir_version, opset_import=whole.opset_import, functions=whole.functions)
        model.graph.name = "stretch"
        model.graph.node.extend(nodes)
        read = list(dict.fromkeys(name for node in nodes for name in reads(node) if name))
        model.graph.initializer.extend(self._graph.tensors[name] for name in read if name in self._graph.tensors)
        for name in read:
            if name in values:
                kind = onnx.helper.np_dtype_to_tensor_dtype(np.asarray(values[name]).dtype)
                # Leave sizes open, because the last batch may be smaller.
                shape = [None] * values[name].ndim
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
        # Without a type, ONNX Runtime infers it.
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return onnx_session.session(model)


def _readers(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[str]]:
    """Return, for each value, the first outputs of the nodes that read it."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        for name in reads(node):
            found.setdefault(name, []).append(node.output[0])
    return found


def ancestors(graph: Graph, names: Iterable[str]) -> set[str]:
    """Return the first outputs of the nodes on which some values depend."""
    waiting, found = list(names), set[str]()
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found.add(node.output[0])
            waiting += reads(node)
    return found
