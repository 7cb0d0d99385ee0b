"""Units inside an ONNX graph that are removed together: rows of the layers that produce them, and columns of those that
read them.

Between the two, only operators that process each unit separately are allowed: activations in any exported form,
products of two such values (gates), pools and depthwise convolutions. Values in a residual sum are not inner units,
since other blocks read them too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx

from compress.core.pass_protocol import Declined
from compress.onnx_graph.graph import Graph, attributes
from compress.pruning.onnx_units.layers import STANDARD, FileLayer

ONE_BY_ONE = frozenset(
    {
        "Abs", "Add", "Celu", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity",
        "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Selu", "Sigmoid", "Sin", "Softplus",
        "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
"""Operators that compute each value from those at the same position."""
SUMS = frozenset({"Add", "Sub", "Sum", "Max", "Min"})
"""Operators that join branches."""
POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
FUSED = frozenset({"FastGelu", "Gelu", "QuickGelu"})
"""Activations in ONNX Runtime's own domain, with one input."""


@dataclass(frozen=True)
class Cut:
    """A constant that loses entries: an input of the producer of ``value``, and the axis."""

    value: str
    index: int
    axis: int


@dataclass(frozen=True)
class UnitGroup:
    """Removable units, with everything that belongs to them.

    Attributes:
        units: number of units.
        makers: layers that compute them.
        depthwise: convolutions in between.
        readers: layers that read them, in the order of the graph.
        inner: constants that lose entries, except for the readers' weights.
        columns: the readers' weights.
    """

    units: int
    makers: tuple[FileLayer, ...]
    depthwise: tuple[FileLayer, ...]
    readers: tuple[FileLayer, ...]
    inner: tuple[Cut, ...]
    columns: tuple[Cut, ...]

    @property
    def name(self) -> str:
        """Name of its first producer."""
        return self.makers[0].name

    @property
    def taker(self) -> FileLayer:
        """The last reader, which compensates for what is removed."""
        return self.readers[-1]


def find_groups(
    graph: Graph, layers: Sequence[FileLayer], keep: Iterable[str] = ()
) -> tuple[list[UnitGroup], list[Declined]]:
    """Return all groups of units, and the layers whose units stay, with the reason.

    Args:
        graph: graph of the model.
        layers: result of :func:`compress.pruning.onnx_units.layers.find_layers`.
        keep: patterns of nodes whose units stay.
    """
    groups: list[UnitGroup] = []
    declined = []
    seen: set[str] = set()
    patterns = tuple(keep)
    for layer in layers:
        if layer.depthwise or layer.product in seen:
            continue
        if any(fnmatchcase(layer.name, pattern) for pattern in patterns):
            declined.append(Declined(layer.name, "the recipe keeps its units"))
            continue
        found = _Search(graph, layers, layer).run()
        if isinstance(found, UnitGroup) and any(fnmatchcase(m.name, p) for m in found.makers for p in patterns):
            found = "the recipe keeps units that belong to the same group"
        if isinstance(found, str):
            declined.append(Declined(layer.name, f"its units stay: {found}"))
            continue
        seen |= {maker.product for maker in found.makers}
        groups.append(found)
    return groups, declined


class _Other(Exception):
    """The units do not form a group; the message says why."""


class _Search:
    """Follows units from the layer that produces them to everything that depends on them."""

    def __init__(self, graph: Graph, layers: Sequence[FileLayer], start: FileLayer) -> None:
        self._graph, self._start = graph, start
        self._layers = {layer.product: layer for layer in layers}
        self._units = start.shape[0]
        self._places: dict[str, int] = {}
        self._found: dict[str, set[str]] = {"makers": set(), "depthwise": set(), "readers": set()}
        self._cuts: set[Cut] = set()
        self._columns: set[Cut] = set()

    def run(self) -> UnitGroup | str:
        """Return the group, or why there is none."""
        waiting = [(self._start.product, self._start.place)]
        try:
            while waiting:
                name, place = waiting.pop()
                if name in self._places:
                    continue
                maker = self._graph.producers.get(name)
                if maker is None or name in self._graph.outputs:
                    raise _Other(f"'{name}' is an input or an output of the graph")
                self._places[name] = place
                # Search in both directions: a gate's other factor is found from the product, and loses its units too.
                for node in (maker, *self._graph.consumers.get(name, ())):
                    waiting += self._beyond(node, name, place)
            self._require_one_branch()
        except _Other as reason:
            return str(reason)
        if not self._found["readers"]:
            return "no layer reads them"
        parts = {part: self._in_order(names) for part, names in self._found.items()}
        order = sorted(self._cuts, key=lambda cut: (cut.value, cut.index))
        columns = sorted(self._columns, key=lambda cut: (cut.value, cut.index))
        return UnitGroup(self._units, inner=tuple(order), columns=tuple(columns), **parts)

    def _in_order(self, names: set[str]) -> tuple[FileLayer, ...]:
        return tuple(layer for name, layer in self._layers.items() if name in names)

    def _beyond(self, node: onnx.NodeProto, name: str, place: int) -> list[tuple[str, int]]:
        """Return the values whose units a node ties to those of one of its inputs or outputs."""
        layer = self._layers.get(node.output[0])
        if layer is not None:
            return self._layer(node, layer, name, place)
        fused = node.domain == "com.microsoft" and node.op_type in FUSED and len(node.input) == 1
        if fused or (node.domain in STANDARD and node.op_type in ONE_BY_ONE):
            return self._one_by_one(node, place)
        if node.domain in STANDARD:
            # MaxPool's second output holds flat indices, which change with the number of channels.
            if node.op_type in POOLS and not any(map(self._graph.consumers.get, node.output[1:])):
                return [(node.input[0], place), (node.output[0], place)]
            # More outputs are statistics of a training graph, which have channels too.
            if node.op_type == "BatchNormalization" and len(node.output) == 1:
                self._cuts |= {Cut(node.output[0], index, 0) for index in range(1, 5)}
                return [(node.input[0], place), (node.output[0], place)]
            if node.op_type == "Flatten":
                return self._flat(node)
        raise _Other(f"{node.op_type} {node.name} does not process each of them separately")

    def _layer(self, node: onnx.NodeProto, layer: FileLayer, name: str, place: int) -> list[tuple[str, int]]:
        produces, value = name == layer.product, layer.product
        units = layer.shape[0] if produces else layer.shape[1] * layer.groups
        # A layer that reads its own units twice, or as its weight, is not a plain reader.
        if place != layer.place or units != self._units or list(node.input).count(name) > (not produces):
            raise _Other(f"{layer.name} does not {'produce' if produces else 'read'} the units one by one")
        if layer.depthwise:
            self._found["depthwise"].add(value)
        elif layer.groups > 1:
            raise _Other(f"{layer.name} computes them in {layer.groups} groups")
        elif not produces:
            self._found["readers"].add(value)
            self._columns.add(Cut(value, 1, 0 if layer.turned else 1))
            return []
        else:
            self._found["makers"].add(value)
        self._cuts.add(Cut(value, 1, 1 if layer.turned else 0))
        if len(node.input) > 2 and node.input[2]:
            bias = self._graph.constant(node.input[2])
            # A bias of another size is broadcast, and removing units would change which value it adds to.
            if bias is None or bias.size != self._units:
                raise _Other(f"the bias of {layer.name} is computed, or shared by all of them")
            self._cuts.add(Cut(value, 2, bias.ndim - 1))
        return [(layer.input, place), (value, place)] if layer.depthwise else []

    def _one_by_one(self, node: onnx.NodeProto, place: int) -> list[tuple[str, int]]:
        beside = [node.output[0]]
        for index, name in enumerate(node.input):
            if name not in self._graph.tensors:
                beside += [name] if name else []
                continue
            shape = tuple(self._graph.tensors[name].dims)
            # ONNX broadcasts from the right, so the units' axis is counted from the end.
            axis = len(shape) - place
            # Broadcast over the units: nothing to cut.
            if math.prod(shape) == 1 or axis < 0 or shape[axis] == 1:
                continue
            if shape[axis] != self._units:
                raise _Other(f"{node.op_type} {node.name} reads a constant of another size")
            self._cuts.add(Cut(node.output[0], index, axis))
        return [(name, place) for name in beside]

    def _flat(self, node: onnx.NodeProto) -> list[tuple[str, int]]:
        """Pass through a Flatten of maps with one value."""
        source = node.input[0]
        shape, maker = self._graph.shape(source) or (), self._graph.producers.get(source)
        pooled = maker is not None and maker.op_type in ("GlobalAveragePool", "GlobalMaxPool")
        if attributes(node).get("axis", 1) != 1 or not shape or not (pooled or set(shape[2:]) == {1}):
            raise _Other(f"{node.op_type} {node.name} makes several values of each")
        return [(source, len(shape) - 1), (node.output[0], 1)]

    def _require_one_branch(self) -> None:
        """Reject values that are sums of several layers' outputs."""
        sources: dict[str, frozenset[str]] = {}
        for node in self._graph.nodes:
            name = node.output[0]
            if name not in self._places:
                continue
            inputs = [sources[each] for each in node.input if each in sources]
            if name in self._found["makers"] or not inputs:
                sources[name] = frozenset({name})
                continue
            # Removing such units would change the stream for all blocks that read it.
            if node.op_type in SUMS and len(set(inputs)) > 1:
                raise _Other(f"they are added to other layers' outputs in {node.name}, as in residual streams")
            sources[name] = frozenset().union(*inputs)


def take(graph: Graph, group: UnitGroup, kept: np.ndarray) -> None:
    """Remove all units but some, in place.

    Args:
        graph: graph to modify.
        group: group of the units.
        kept: indices of those that stay, ascending.
    """
    for cut in (*group.inner, *group.columns):
        node = graph.producers[cut.value]
        values = graph.constant(node.input[cut.index])
        if values is not None:
            graph.set(node, cut.index, np.ascontiguousarray(np.take(values, kept, cut.axis)))
    for layer in group.depthwise:
        node = graph.producers[layer.product]
        # A depthwise convolution has as many groups as channels.
        next(each for each in node.attribute if each.name == "group").i = len(kept)


def mask(graph: Graph, group: UnitGroup, kept: np.ndarray) -> None:
    """Let the readers read zeros instead of all units but some, in place; see :func:`take`."""
    gone = np.delete(np.arange(group.units), kept)
    for cut in group.columns:
        node = graph.producers[cut.value]
        values = graph.constant(node.input[cut.index])
        if values is not None:
            masked = values.copy()
            np.moveaxis(masked, cut.axis, 0)[gone] = 0
            graph.set(node, cut.index, masked)
