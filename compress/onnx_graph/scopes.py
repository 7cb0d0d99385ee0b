"""The modules that nodes of an exported file come from, as the exporter of torch records them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx

from compress.onnx_graph.graph import COMPUTE

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata: the paths of the modules around it, outermost first."""
BATCH_NORM = "batch_norm"
"""Part of the innermost scope of nodes that come from a batch norm."""
FLOAT_PARTS, INT4_PARTS = ("float_blocks", "float_nodes"), ("int4_blocks", "int4_nodes")
"""Fields of a record with the parts that stay float, or have int4 weights: paths of modules, and names of nodes."""


def nodes_inside(model: onnx.ModelProto, modules: Collection[str]) -> dict[str, list[str]] | None:
    """Return the names of the nodes inside some modules, by the module's path.

    Names of nodes count operators, so they shift when a layer before them changes; paths of modules do not. A layer
    into which a batch norm was folded is noted as part of the batch norm, but belongs to the module of its weights.

    Args:
        model: an exported file.
        modules: paths of modules.

    Returns:
        None if the file has no notes about modules, as one by the older exporter.
    """
    notes = [(node.name, entry) for node in model.graph.node for entry in node.metadata_props if entry.key == SCOPES]
    if not notes:
        return None
    scopes = {name: ast.literal_eval(entry.value) for name, entry in notes}
    weights = {tensor.name for tensor in model.graph.initializer}

    def inside(node: onnx.NodeProto, path: str) -> bool:
        around: Sequence[str] = scopes.get(node.name, ())
        if node.op_type in COMPUTE and node.input[1] in weights and around and BATCH_NORM in around[-1]:
            weight: str = node.input[1]
            return weight.startswith(f"{path}.")
        return path in around

    return {path: [node.name for node in model.graph.node if inside(node, path)] for path in modules}


def chosen_earlier(
    model: onnx.ModelProto, earlier: Sequence[Mapping[str, Any]], fields: tuple[str, str]
) -> dict[str, list[str]]:
    """Return the nodes of the parts for which earlier passes chose a format, by the part's name."""
    blocks, nodes = fields
    parts: dict[str, list[str]] = {}
    for done in earlier:
        if done.get(nodes):
            inside = nodes_inside(model, done[blocks])
            # Without notes about modules, only the names are left.
            parts |= {name: still_named(model, [name]) for name in done[nodes]} if inside is None else inside
    return parts


def still_named(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Return the nodes with one of the names, and those that the preparation made from them."""
    stems = tuple(f"{name}." for name in names)
    return [node.name for node in model.graph.node if node.name in names or node.name.startswith(stems)]
