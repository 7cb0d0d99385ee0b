"""Chains of operators that only scale and shift values by constants, which two operators can replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.branches import drop_unused
from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.data_sized import reader_counts
from certify.model_file.onnx_graph.equal_values import FLOATS
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS
from certify.model_file.onnx_graph.shapes import infer, shape_of

Array = npt.NDArray[Any]
EPSILON = 1e-5
"""Default of a BatchNormalization."""


@dataclass(frozen=True)
class _Chain:
    """A value expressed as another value times a constant plus a constant.

    Attributes:
        root: the other value.
        scale: factor, which broadcasts against the value.
        offset: summand, likewise.
        links: number of operators.
    """

    root: str
    scale: Array
    offset: Array
    links: int


def shorten_chains(model: onnx.ModelProto, sample: tuple[int, ...]) -> int:
    """Replace chains of constant factors and summands by one of each, in place; return how many were replaced.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    types = infer(model, sample).types
    chains = _chains(model, types)
    replaced = 0
    for position, node in reversed(list(enumerate(model.graph.node))):
        name = node.output[0]
        chain = chains.get(name)
        if chain is None or chain.root not in types or name not in types:
            continue
        kinds = [types[one] for one in (chain.root, name)]
        if kinds[0].elem_type not in FLOATS or shape_of(kinds[0]) != shape_of(kinds[1]):
            continue
        nodes = _short(chain, name, kinds[0].elem_type, model.graph)
        if len(nodes) < chain.links:
            del model.graph.node[position]
            for one in reversed(nodes):
                model.graph.node.insert(position, one)
            replaced += 1
    if replaced:
        drop_unused(model.graph)
    return replaced


def _chains(model: onnx.ModelProto, types: Mapping[str, onnx.TypeProto.Tensor]) -> dict[str, _Chain]:
    """Return the chains by their last value; a value with several readers ends one chain and begins another."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = reader_counts(graph)
    found: dict[str, _Chain] = {}
    for node in graph.node:
        varying = [name for name in node.input if name and name not in weights]
        if len(varying) != 1 or node.domain not in STANDARD_DOMAINS or len(node.output) != 1:
            continue
        constants = [array_of(weights[name]).astype(np.float64) for name in node.input if name in weights]
        link = _link(node, constants, varying[0], types)
        if link is None:
            continue
        scale, offset = link
        before = found.pop(varying[0], None) if readers[varying[0]] == 1 else None
        before = before or _Chain(varying[0], np.ones(()), np.zeros(()), 0)
        found[node.output[0]] = _Chain(
            before.root, before.scale * scale, before.offset * scale + offset, before.links + 1
        )
    return found


def _link(
    node: onnx.NodeProto, constants: list[Array], varying: str, types: Mapping[str, onnx.TypeProto.Tensor]
) -> tuple[Array, Array] | None:
    """Return the factor and the summand of an operator; None for other operators."""
    one, none = np.ones(()), np.zeros(())
    if node.op_type == "BatchNormalization" and len(constants) == 4 and varying in types:
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), EPSILON)
        behind = (1,) * (len(shape_of(types[varying])) - 2)  # axes behind the channels
        scale, offset, mean, variance = (each.reshape(-1, *behind) for each in constants)
        factor = scale / np.sqrt(variance + epsilon)
        return factor, offset - mean * factor
    if len(constants) != 1:
        return None
    constant, first = constants[0], node.input[0] == varying
    links: dict[str, tuple[Array, Array]] = {
        "Mul": (constant, none),
        "Add": (one, constant),
        "Sub": (one, -constant) if first else (-one, constant),
    }
    if node.op_type == "Div" and first and np.all(constant):
        links["Div"] = (1 / constant, none)
    return links.get(node.op_type)


def _short(chain: _Chain, name: str, kind: int, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return operators that replace a chain, the last of which writes its value, and add their constants."""
    parts = [("Mul", chain.scale, 1.0), ("Add", chain.offset, 0.0)]
    parts = [part for part in parts if not np.all(part[1] == part[2])] or parts[:1]
    nodes: list[onnx.NodeProto] = []
    if len(parts) >= chain.links:
        return [onnx.NodeProto() for _ in parts]
    value = chain.root
    for number, (operator, constant, _) in enumerate(parts):
        array = constant.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{operator}"))
        last = number == len(parts) - 1
        nodes.append(
            onnx.helper.make_node(operator, [value, f"{name}.{operator}"], [name if last else f"{name}.first"])
        )
        value = nodes[-1].output[0]
    return nodes
