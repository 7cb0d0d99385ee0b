"""The last block of networks whose head reads one token, the class token."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx

from certify.model_file.onnx_graph.operators import compute_of

LAST_BLOCK, TOKENS = 5, 3
"""Layers after an attention within which unread rows are not needless, and number of axes of such values: in the last
block of a network that reads only its class token, exporters compute all tokens."""


def last_block(graph: onnx.GraphProto, weights: Collection[str]) -> set[str]:
    """Return the values with at most LAST_BLOCK layers since a product of two activations."""
    layers: dict[str, float] = {}
    for node in graph.node:
        since = min((layers.get(name, math.inf) for name in node.input), default=math.inf)
        if (compute := compute_of(node)) is not None:
            since = since + 1 if node.input[compute.weight] in weights else 0
        layers.update(dict.fromkeys(node.output, since))
    return {name for name, since in layers.items() if since <= LAST_BLOCK}
