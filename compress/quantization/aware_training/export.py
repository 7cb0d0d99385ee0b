"""Export of a network with fake quantizers to a file with exactly its integers, and the selection of what is rounded.

Both use the graph of the float network (:mod:`compress.quantization.aware_training.marked_export`) and the quantizer of
:mod:`compress.quantization.post_training.qdq`: the network rounds in training what the quantizer rounds in the graph,
so the file runs in the same integer kernels as one of `quantize_static`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from certify.core.errors import ModelError
from compress.core import onnx_file
from compress.core.pass_protocol import Declined
from compress.onnx_graph.graph import Array, Graph, attributes, share_constants
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel, Layer, Rounding, Site
from compress.quantization.aware_training.fake_quantize import bias_codes, bias_step
from compress.quantization.aware_training.marked_export import LayerOf, MarkedGraph, layers_of, read_marked
from compress.quantization.post_training.integer_weights import IntegerWeights, integer_weights
from compress.quantization.post_training.qdq import REMOVABLE, QuantizationPlan, observed_names, plan, quantized

QUANTIZED_INPUT = "_QuantizeLinear_Input"
"""Suffix that ONNX Runtime's quantizer adds to the name of a value if the rounded one takes its name."""
ANY_RANGE = (-1.0, 1.0)
# Each round excludes nodes that the network cannot reproduce, which may change how their neighbours are quantized.
ROUNDS = 8
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Integers:
    """What a quantized file rounds.

    Attributes:
        graph: graph of the file.
        scales: names of scale and zero point by the name of a value, in the order of the graph.
        rounded: name of its QuantizeLinear's output, likewise.
        weights: constant weights of operators, by the operator's name.
    """

    graph: Graph
    scales: Mapping[str, tuple[str, str]]
    rounded: Mapping[str, str]
    weights: Mapping[str, IntegerWeights]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Integers:
        """Read a file from :func:`compress.quantization.post_training.qdq.quantized`."""
        graph = Graph(model)
        pairs = [n for n in graph.nodes if n.op_type == "QuantizeLinear" and n.input[0] not in graph.tensors]
        values = {n.input[0].removesuffix(QUANTIZED_INPUT): n for n in pairs}
        scales = {value: (n.input[1], n.input[2]) for value, n in values.items()}
        return cls(graph, scales, {value: n.output[0] for value, n in values.items()}, integer_weights(graph))

    def rounded_input(self, node: onnx.NodeProto) -> str | None:
        """Return the name of the rounded value that is a node's first input."""
        source = self.graph.producers.get(node.input[0])
        quantizer = None if source is None else self.graph.producers.get(source.input[0])
        rounded = quantizer is not None and quantizer.op_type == "QuantizeLinear"
        return quantizer.input[0].removesuffix(QUANTIZED_INPUT) if rounded and quantizer is not None else None

    def has_integer_bias(self, node: onnx.NodeProto) -> bool:
        """Return whether the third input comes from 32-bit integers."""
        source = self.graph.producers.get(node.input[2]) if len(node.input) > 2 else None
        return source is not None and source.op_type == "DequantizeLinear"


def choose_rounding(
    model: nn.Module, found: MarkedGraph, rounding: Rounding, kept: Sequence[str]
) -> tuple[Rounding, QuantizationPlan, tuple[Declined, ...]]:
    """Find what the quantizer rounds in the graph and the network can round too.

    Args:
        model: the network.
        found: its graph.
        rounding: target and operators.
        kept: paths of layers that stay float.

    Returns:
        The rounding with its sites and layers, the plan that produces it, and what stays float with the reason.

    Raises:
        ModelError: ONNX Runtime's quantizer cannot handle the graph.
    """
    of = layers_of(model, found)
    reasons = {name: "the recipe keeps it float" for name, layer in of.items() if layer.path in kept}
    for _ in range(ROUNDS):
        chosen = plan(found.graph, rounding.for_target(), rounding.operators, tuple(reasons))
        exported = _quantized(found, chosen, rounding, {})
        bad = _unfollowed(found, of, Integers.of(exported))
        if not bad.keys() - reasons.keys():
            break
        why = {found.key(node): bad[node.name] for node in found.graph.nodes if node.name in bad}
        reasons |= {node.name: why[found.key(node)] for node in found.graph.nodes if found.key(node) in why}
    else:
        raise ModelError(
            "The choice of integer operators does not converge for this graph; keep more layers float (keep_layers)."
        )
    integers = Integers.of(exported)
    keys = {node.name: found.key(node) for node in found.graph.nodes}
    declined = tuple(Declined(key, reasons[name]) for name, key in keys.items() if name in reasons)
    sites, layers = _sites(found, integers), _layers(found, of, integers)
    kept_keys = tuple(dict.fromkeys(each.what for each in declined))
    return replace(rounding, kept=kept_keys, sites=sites, layers=layers), chosen, declined


def _quantized(found: MarkedGraph, chosen: QuantizationPlan, rounding: Rounding, ranges: Ranges) -> onnx.ModelProto:
    # Any range will do where only the structure counts: it does not decide what the quantizer rounds.
    names = observed_names(found.graph, chosen)
    filled = {name: ranges.get(name, ANY_RANGE) for name in names}
    return quantized(found.graph.model, chosen, filled, rounding.for_target(), per_channel=rounding.per_channel)


def _unfollowed(found: MarkedGraph, layers: Mapping[str, LayerOf], integers: Integers) -> dict[str, str]:
    """Return the operators that round something that the network cannot round, by name, with the reason."""
    bad: dict[str, str] = {}
    for node in found.graph.nodes:
        values = [name for name in (*node.input, *node.output) if name in integers.scales]
        # Only torch functions are seen, so values inside one, as in fused attention, have no place.
        if any(name not in found.places for name in values):
            bad[node.name] = "it is inside a torch function that is not traced"
    runs = Counter(layers[name].path for name in integers.weights if name in layers)
    for node in integers.graph.nodes:
        if not any(_is_constant(integers, name) for name in node.input):
            continue
        layer = layers.get(node.name)
        if layer is None:
            bad[node.name] = "its constant is not a weight of a convolution or linear layer of torch"
        # Two uses may need different input steps, and so different biases.
        elif runs[layer.path] > 1:
            bad[node.name] = "its weight is used twice"
        elif integers.rounded_input(node) is None:
            bad[node.name] = "its input stays float"
    return bad


def _is_constant(integers: Integers, name: str) -> bool:
    """Return whether a value comes from stored integers."""
    source = integers.graph.producers.get(name)
    return source is not None and source.op_type == "DequantizeLinear" and source.input[0] in integers.graph.tensors


def _sites(found: MarkedGraph, integers: Integers) -> tuple[Site, ...]:
    first: dict[str, str] = {}
    sites: dict[str, Site] = {}
    remaining = {node.name for node in integers.graph.nodes}
    for value, (scale, _) in integers.scales.items():
        place = found.places[value]
        source = found.graph.producers.get(value)
        clips = source is not None and source.op_type in REMOVABLE and source.name not in remaining
        # Pools and views pass codes through, so the quantizer gives both sides one scale; the first owns it.
        shares = first.setdefault(scale, place)
        for each in (place, *found.twins.get(place, ())):
            sites.setdefault(each, Site(each, shares, clips))
    return tuple(sites.values())


def _layers(found: MarkedGraph, of: Mapping[str, LayerOf], integers: Integers) -> tuple[Layer, ...]:
    layers = []
    for node in integers.graph.nodes:
        source = integers.rounded_input(node) if node.name in integers.weights and node.name in of else None
        if source is not None:
            layers.append(Layer(*of[node.name], found.places[source], integers.has_integer_bias(node)))
    return tuple(layers)


def first_steps(model: FakeQuantModel, found: MarkedGraph, chosen: QuantizationPlan, ranges: Ranges) -> None:
    """Initialise the network's steps to those of post-training quantization.

    Args:
        model: network with sites and layers from :func:`choose_rounding`.
        found: its graph.
        chosen: the plan.
        ranges: low and high end of each value from :func:`compress.quantization.post_training.qdq.observed_names`.
    """
    integers = Integers.of(_quantized(found, chosen, model.rounding, ranges))
    own = {site.place for site in model.rounding.sites if site.shares == site.place}
    steps = {}
    for value, names in integers.scales.items():
        scale, zero = (integers.graph.constant(name) for name in names)
        if found.places[value] in own and scale is not None and zero is not None:
            steps[found.places[value]] = float(scale), int(zero)
    of = layers_of(model.model, found)
    weights = {}
    for name, rounded in integers.weights.items():
        scale = rounded.scale.ravel() if model.rounding.per_channel else rounded.scale.reshape(())
        weights[of[name].place] = torch.from_numpy(scale.copy())
    model.start(steps, weights)


def as_integers(model: FakeQuantModel, path: Path) -> dict[str, str]:
    """Turn the marked float file of a network into the quantized one with exactly its integers.

    Args:
        model: network on the CPU.
        path: path of the file, in a folder of its own; replaced.

    Returns:
        Places of the outputs of the file's QuantizeLinear operators, by name.

    Raises:
        ModelError: the file cannot be traced, or would round anything other than the network does.
    """
    exported, places = filled(model, read_marked(path, path.parent))
    for written in path.parent.iterdir():  # including a separate file of float weights
        written.unlink()
    share_constants(exported.graph)
    onnx_file.save(exported, path)
    return places


def filled(model: FakeQuantModel, found: MarkedGraph) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return the quantized graph with exactly the integers of a network, and the places as in :func:`as_integers`.

    Args:
        model: network on the CPU.
        found: its float graph; not modified.

    Raises:
        ModelError: the graph would round anything other than the network does.
    """
    rounding = model.rounding
    chosen = plan(found.graph, rounding.for_target(), rounding.operators, found.kept(rounding.kept))
    exported = _quantized(found, chosen, rounding, {})
    integers = Integers.of(exported)
    layers = layers_of(model.model, found)
    # Refuse, because another exporter may fuse or split operators differently, and the file would have other integers.
    if {*_sites(found, integers), *_layers(found, layers, integers)} != {*rounding.sites, *rounding.layers}:
        raise ModelError(
            "The exported graph would be rounded in other places than the trained model; export it with the version of "
            "torch that trained it."
        )
    _fill_activations(model, found, integers)
    _fill_weights(model, layers, integers)
    return exported, {name: found.places[value] for value, name in integers.rounded.items()}


def _fill_activations(model: FakeQuantModel, found: MarkedGraph, integers: Integers) -> None:
    for value, (scale, zero) in integers.scales.items():
        rounds = model.at(found.places[value])
        _store(integers.graph, scale, rounds.step.detach().numpy())
        _store(integers.graph, zero, rounds.zero.detach().numpy())


def _fill_weights(model: FakeQuantModel, layers: Mapping[str, LayerOf], integers: Integers) -> None:
    graph = integers.graph
    rounded = {layer.place: layer for layer in model.rounding.layers}
    for node in graph.nodes:
        if node.name not in integers.weights:
            continue
        layer = rounded[layers[node.name].place]
        module, weight, source = model.model.get_submodule(layer.path), model.of(layer), graph.producers[node.input[1]]
        _store(graph, source.input[0], weight.codes(module.weight).numpy(), turned=_is_turned(node))  # type: ignore[arg-type]
        _store(graph, source.input[1], weight.step.detach().numpy())
        if layer.bias:
            source, step = graph.producers[node.input[2]], bias_step(model.at(layer.taken), weight)
            _store(graph, source.input[0], bias_codes(module.bias, step).numpy())  # type: ignore[arg-type]
            _store(graph, source.input[1], step.numpy())


def _is_turned(node: onnx.NodeProto) -> bool:
    """Return whether the file holds a linear layer's weight as (inputs, outputs)."""
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(node).get("transB", 0))


def _store(graph: Graph, name: str, values: Array, *, turned: bool = False) -> None:
    """Replace the values of a constant, keeping its type and shape."""
    old = graph.tensors[name]
    kind = onnx.helper.tensor_dtype_to_np_dtype(old.data_type)
    stored = (values.T if turned else values).astype(kind).reshape(tuple(old.dims))
    old.CopyFrom(onnx.numpy_helper.from_array(np.array(stored, order="C"), name))
