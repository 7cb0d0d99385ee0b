"""Model-local functions, each put in the place of its calls.

Functions may call functions, so a few lines of a hostile file can stand for more nodes than any memory holds. What
would come out is counted before it is made.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx.inliner

from certify.core.errors import ModelError

MAX_NODES = 1_000_000
MAX_DEPTH = 100
"""Of calls inside calls; as deep as protobuf itself lets messages be."""

_Name = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions; the very same one where it has none.

    Raises:
        ModelError: a function calls itself, calls are nested too deeply, too many nodes would come out, or a call does
            not fit its function.
    """
    if not model.functions:
        return model
    bodies = {(function.domain, function.name, function.overload): function.node for function in model.functions}
    if _size(model.graph.node, bodies, {}, ()) > MAX_NODES:
        raise ModelError(f"The model's functions stand for more than the {MAX_NODES:,} nodes that are looked at.")
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"The model's functions can't be put in the place of their calls: {reason}") from error


def _size(
    nodes: Iterable[onnx.NodeProto],
    bodies: dict[_Name, Iterable[onnx.NodeProto]],
    known: dict[_Name, int],
    inside: tuple[_Name, ...],
) -> int:
    """How many nodes there are once every call is replaced, subgraphs included."""
    total = 0
    for node in nodes:
        total += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                total += _size(graph.node, bodies, known, inside)
        name = (node.domain, node.op_type, node.overload)
        if name in bodies:
            if name in inside or len(inside) >= MAX_DEPTH:
                raise ModelError(f"Function '{node.op_type}' calls itself, or calls are nested over {MAX_DEPTH} deep.")
            if name not in known:
                known[name] = _size(bodies[name], bodies, known, (*inside, name))
            total += known[name]
    return total
