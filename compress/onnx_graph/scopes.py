"""The modules that nodes of an exported file come from, as the exporter of torch records them."""

from __future__ import annotations

import ast
from collections.abc import Collection

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata: the paths of the modules around it, outermost first."""


def nodes_inside(model: onnx.ModelProto, modules: Collection[str]) -> dict[str, list[str]] | None:
    """Return the names of the nodes inside some modules, by the module's path.

    Names of nodes count operators, so they shift when a layer before them changes; paths of modules do not.

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
    return {path: [name for name, around in scopes.items() if path in around] for path in modules}
