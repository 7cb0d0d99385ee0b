"""The float graph of a network, exported with a mark on every value that identifies it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import Preprocess
from compress.core import onnx_file
from compress.models.tokens import as_exported
from compress.onnx_graph.graph import Graph, attributes
from compress.quantization.aware_training.fake_quant_model import MARKER, FakeQuantModel
from compress.quantization.post_training.prepare import prepared

DOMAIN = MARKER.partition("::")[0]
SHAPED = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Add", "Identity"})
"""Operators that an exporter adds after the one that computes a value: reshaping, and the bias of a linear layer."""
VIEWS = SHAPED - {"Add"}
LINEAR = ("conv1d", "conv2d", "conv3d", "linear")


@dataclass(frozen=True)
class MarkedGraph:
    """The float graph of a network.

    Attributes:
        graph: graph prepared for quantization.
        places: places of its values, by their names.
        twins: further places by the first one, if the exporter merged values that the network computes twice.
    """

    graph: Graph
    places: Mapping[str, str]
    twins: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def key(self, node: onnx.NodeProto) -> str:
        """Return the stable name of a node across exports: the place of its first output, or its own name."""
        return self.places.get(node.output[0], node.name)

    def kept(self, keys: Sequence[str]) -> list[str]:
        """Return the names of the nodes with these stable names."""
        return [node.name for node in self.graph.nodes if self.key(node) in keys]


def as_marked(model: FakeQuantModel, preprocess: Preprocess) -> nn.Module:
    """Return the network in the form for export, with the inputs that the contract names.

    Raises:
        ModelError: it takes other inputs.
    """
    form = as_exported(model.model, preprocess)
    return model if form is model.model else _Separately(model)


class _Separately(nn.Module):
    """A text network that is fed with one tensor per input."""

    def __init__(self, rounded: FakeQuantModel) -> None:
        super().__init__()
        self.rounded = rounded

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.rounded.run(self.rounded.model.separately, *inputs)  # type: ignore[arg-type]


def read_marked(path: Path, folder: Path) -> MarkedGraph:
    """Read a marked file and remove the marks.

    Args:
        path: path of a file to which a :class:`FakeQuantModel` was exported.
        folder: folder for temporary files.

    Raises:
        ModelError: the file has no marks (it came from another exporter), or cannot be prepared.
    """
    model = onnx.load(path)
    places, twins = _unmarked(model)
    if not places:
        raise ModelError("The file has no marks of the model's values; export it with the current (dynamo) exporter.")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".named.") as scratch:
        written = Path(scratch) / "named.onnx"
        onnx_file.save(model, written)
        # Marks are removed first: the runtime that prepares the file has no such operator.
        graph = Graph(prepared(written, folder))
    for node in graph.nodes:  # a value that is only reshaped is the same value
        reader = graph.only_consumer(node.output[0])
        if node.output[0] not in places and reader is not None and reader.op_type in VIEWS:
            place = places.get(reader.output[0])
            if place is not None:
                places[node.output[0]] = place
    return MarkedGraph(graph, places, twins)


def _unmarked(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Remove the marks from a graph, in place; return places by the name of the value, and their twins.

    A mark directly after another (of a dropout, which has no effect here) adds nothing.
    """
    graph = model.graph
    places: dict[str, str] = {}
    twins: dict[str, list[str]] = {}
    same: dict[str, str] = {}
    kept = []
    for node in graph.node:
        marked = node.input[0] in same if node.input else False
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        # Every other node stays; marks are bridged by `same`.
        if node.domain != DOMAIN:
            kept.append(node)
            continue
        value, place = node.input[0], attributes(node)["place"].decode()
        same[node.output[0]] = value
        if value not in places:
            places[value] = place
        elif not marked:
            twins.setdefault(places[value], []).append(place)
    # Outputs keep the names in the contract; the values before the removed marks take over these names.
    outputs = {same[value.name]: value.name for value in graph.output if value.name in same}
    for node in kept:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = outputs.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    domains = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(domains)
    values = [value for value in graph.value_info if value.name not in same]
    del graph.value_info[:]
    graph.value_info.extend(values)
    return {outputs.get(name, name): place for name, place in places.items()}, twins


class LayerOf(NamedTuple):
    """Place of a layer's output, and path of its module."""

    place: str
    path: str


def layers_of(model: nn.Module, found: MarkedGraph) -> dict[str, LayerOf]:
    """Return the layers whose products operators of the graph compute, by the operator's name."""
    layers = {}
    for node in found.graph.weighted():
        last: onnx.NodeProto | None = node
        # The product of a linear layer gets its place only after the reshapes and the bias that the exporter adds.
        while last is not None and last.output[0] not in found.places:
            last = found.graph.only_consumer(last.output[0])
            last = last if last is not None and last.op_type in SHAPED else None
        if last is None:
            continue
        place = found.places[last.output[0]]
        path, function, _ = place.rsplit(":", 2)
        weight, stored = getattr(model.get_submodule(path), "weight", None), found.graph.tensors[node.input[1]]
        if function in LINEAR and isinstance(weight, nn.Parameter) and weight.numel() == math.prod(stored.dims):
            layers[node.name] = LayerOf(place, path)
    return layers


def layer_paths(model: nn.Module, found: MarkedGraph) -> list[str]:
    """Return the paths of the layers whose weights operators of the graph use, in the order of the graph."""
    return list(dict.fromkeys(layer.path for layer in layers_of(model, found).values()))
