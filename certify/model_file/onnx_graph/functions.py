"""Inlining of model-local functions.

Functions may call functions, so a small hostile file can expand to more nodes than fit into memory. The result is
counted before it is built.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx.checker
import onnx.inliner
import onnx.shape_inference

from certify.core.errors import ModelError

MAX_NODES = 1_000_000
MAX_DEPTH = 100
"""Maximum nesting of calls, equal to protobuf's own limit for messages."""

INCONSISTENT = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError)
"""Errors of onnx's own tools: the second for functions that are recursive or defined twice, the last for a Loop with
too few inputs."""

_Name = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without functions; the same object if it has none.

    Raises:
        ModelError: a function calls itself, calls are nested too deeply, the result has too many nodes, or a call does
            not match its function.
    """
    if not model.functions:
        return model
    bodies = {(function.domain, function.name, function.overload): function.node for function in model.functions}
    if _size(model.graph.node, bodies, {}, ()) > MAX_NODES:
        raise ModelError(
            f"The model's functions expand to more than {MAX_NODES:,} nodes, the limit; simplify the model."
        )
    try:
        return onnx.inliner.inline_local_functions(model)
    except INCONSISTENT as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"The model's functions cannot be inlined: {reason}") from error


def _size(
    nodes: Iterable[onnx.NodeProto],
    bodies: dict[_Name, Iterable[onnx.NodeProto]],
    known: dict[_Name, int],
    inside: tuple[_Name, ...],
) -> int:
    """Count the nodes after inlining, including subgraphs."""
    total = 0
    for node in nodes:
        total += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                total += _size(graph.node, bodies, known, inside)
        name = (node.domain, node.op_type, node.overload)
        if name in bodies:
            if name in inside or len(inside) >= MAX_DEPTH:
                raise ModelError(
                    f"Function '{node.op_type}' calls itself, or calls are nested deeper than {MAX_DEPTH} levels."
                )
            if name not in known:
                known[name] = _size(bodies[name], bodies, known, (*inside, name))
            total += known[name]
    return total
