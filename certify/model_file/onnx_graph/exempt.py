"""Values of which honest networks compute more than is read: tokens beside the class token, steps before the last."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.operators import RECURRENT, STANDARD_DOMAINS, compute_of
from certify.model_file.onnx_graph.rearrangements import FREE

Mask = npt.NDArray[np.bool_]
Masks = list[Mask]
"""For each axis of a value, which positions are needed."""

LAST_BLOCK, TOKENS = 5, 3
"""Layers after an attention within which unread rows are not needless, and number of axes of such values: in the last
block of a network that reads only its class token, exporters compute all tokens."""

SEQUENCE = 2
"""Most axes of a sample that is a sequence; causal convolutions compute all of its steps, and only the last is read."""


class Exempt:
    """Values of a graph whose unread positions are not needless.

    Args:
        graph: graph in topological order.
        weights: names of its weights.
        axes: number of axes of a sample.
    """

    def __init__(self, graph: onnx.GraphProto, weights: Collection[str], axes: int) -> None:
        self._sequence = axes <= SEQUENCE
        self._tokens = _last_block(graph, weights)
        self._steps = _steps(graph)

    def needed(self, name: str, masks: Masks) -> Masks:
        """Return the needed positions of a value, with those that are exempt."""
        if name in self._steps:
            return [*(np.ones_like(mask) for mask in masks[:-1]), *(masks[-1:] if self._steps[name] else masks[:0])]
        if name in self._tokens and 1 < len(masks) <= TOKENS:
            return [*(np.ones_like(mask) for mask in masks[:-1]), masks[-1]]
        if self._sequence and len(masks) == TOKENS:
            return [masks[0], *(np.ones_like(m) if m.sum() == m[-1] == 1 < len(m) else m for m in masks[1:])]
        return masks


def _last_block(graph: onnx.GraphProto, weights: Collection[str]) -> set[str]:
    """Return the values with at most LAST_BLOCK layers since a product of two activations."""
    layers: dict[str, float] = {}
    for node in graph.node:
        since = min((layers.get(name, math.inf) for name in node.input), default=math.inf)
        if (compute := compute_of(node)) is not None:
            since = since + 1 if node.input[compute.weight] in weights else 0
        layers.update(dict.fromkeys(node.output, since))
    return {name for name, since in layers.items() if since <= LAST_BLOCK}


def _steps(graph: onnx.GraphProto) -> dict[str, bool]:
    """Return the values that hold all steps of a recurrence, and whether its units are on their last axis.

    Exporters put all steps in another order before one is read.
    """
    found: dict[str, bool] = {}
    for node in graph.node:
        if node.domain not in STANDARD_DOMAINS:
            continue
        if node.op_type in RECURRENT:
            found.update(dict.fromkeys(filter(None, node.output), True))
        elif node.op_type in FREE | {"Transpose"} and node.input[0] in found:
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [0])
            found[node.output[0]] = found[node.input[0]] and order[-1] == len(order) - 1
    return found
