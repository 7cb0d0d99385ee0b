"""Parity of a quantized file with the network with fake quantizers, operator by operator.

A value between two codes may be rounded either way, because sums of floats depend on their order; this happens in a few
places per million. After such a place everything differs slightly, other values are rounded the other way, and at the
end of a deep network two faithful computations differ by a part of the rounding noise. So the outputs alone prove
little. Here the network continues, after each rounding, with the file's value at that place: then every operator sees
the same inputs in both and must give the same codes, apart from a few neighbouring ones, and the remaining difference
at the end is that of float arithmetic alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from certify.core.errors import ModelError
from certify.core.input_mapping import by_input
from compress.core.samples import as_tensor
from compress.exchange.parity import Parity, Samples, agreement, require_finite
from compress.onnx_graph.graph import Array, Graph, probe
from compress.quantization.aware_training.fake_quant_model import FakeQuantModel

MOST_STEPS = 1.0
"""Maximum difference of a value, in codes."""
MOST_MOVED = 1e-3
"""Maximum share of values that may differ, over all places."""


class Follower:
    """Compares every rounded value of the network with the file's, and substitutes the latter.

    Args:
        model: the network.
        values: values of the file, by place: codes times step.

    Attributes:
        moved: number of values that differed.
        compared: number of values compared.
        largest: largest difference in steps, and its place.
    """

    def __init__(self, model: FakeQuantModel, values: dict[str, Array]) -> None:
        self._model = model
        self._values = values
        self.moved, self.compared = 0, 0
        self.largest = (0.0, "")

    def __call__(self, place: str, own: torch.Tensor) -> torch.Tensor:
        """Compare, and return the file's value."""
        theirs = torch.from_numpy(self._values[place]).reshape(own.shape)
        # Both are multiples of the step; rounding removes the error of the subtraction.
        steps = ((own - theirs).abs() / self._model.at(place).step).round()
        self.compared += steps.numel()
        self.moved += int((steps > 0).sum())
        self.largest = max(self.largest, (float(steps.max()), place))
        return theirs


def compare_fake_quant(
    model: FakeQuantModel, quantized: onnx.ModelProto | Path, places: dict[str, str], samples: Samples
) -> Parity:
    """Run both on the same inputs, continuing in the network with the file's values after each rounding.

    Args:
        model: network on the CPU, in evaluation mode.
        quantized: the quantized graph, or its file.
        places: places of the rounded values, by the name of QuantizeLinear's output.
        samples: (n, ...) from the preprocessing contract.

    Raises:
        ModelError: an operator gives different codes in the file, or an output is not finite.
    """
    loaded = onnx.load(quantized) if isinstance(quantized, Path) else quantized
    feed = by_input([value.name for value in loaded.graph.input], samples)
    codes = next(probe(loaded, [*places, loaded.graph.output[0].name], [feed]))
    graph = Graph(loaded)
    values = {place: _values(graph, name, codes[name]) for name, place in places.items()}
    follower = Follower(model, values)
    model.watch = follower
    try:
        with torch.inference_mode():
            wanted = model(as_tensor(samples)).float().numpy()
    finally:
        model.watch = None
    require_finite(wanted)
    largest, place = follower.largest
    share = follower.moved / max(1, follower.compared)
    if largest > MOST_STEPS or share > MOST_MOVED:
        raise ModelError(
            f"On the same inputs the quantized file gives different codes than the trained model: {share:.2%} of all "
            f"values differ (at most {MOST_MOVED:.1%} may), by up to {largest:g} codes (at '{place}')."
        )
    return agreement(wanted, codes[loaded.graph.output[0].name])


def _values(graph: Graph, name: str, codes: Array) -> Array:
    """Return the values of codes."""
    quantizer = graph.producers[name]
    scale, zero = graph.constant(quantizer.input[1]), graph.constant(quantizer.input[2])
    if scale is None or zero is None:
        raise ValueError(f"the scale of '{name}' is not a constant")
    return np.asarray((codes.astype(np.float32) - np.float32(zero)) * scale, dtype=np.float32)
