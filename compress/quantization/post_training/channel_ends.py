"""The ends of values by channel, from which ranges follow after channels are divided or left out.

Smoothing and outlier channels are chosen from the largest value of each channel, and change the ranges of what they
choose. The smallest and largest value of each channel, and a subset of the values for histograms, give the ranges of
both without running the samples again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Graph, over_first_axis
from compress.quantization.post_training.calibration import sampling_step
from compress.quantization.post_training.histogram import Histogram
from compress.quantization.post_training.ranges import ValueStatistics


class ChannelRecorder:
    """Records the ends of each channel (last axis) of some values; see :class:`recording.Recorder`.

    Args:
        graph: graph of the model that runs.
        channels: number of channels of each value, by name.
        sampled: whether to keep a subset of the values too, for histograms.
    """

    def __init__(self, graph: Graph, channels: Mapping[str, int], *, sampled: bool = False) -> None:
        make_node = onnx.helper.make_node
        self.channels = dict(channels)
        self._steps = {name: sampling_step(graph, name) for name in channels if sampled}
        self._low = {name: np.full(count, np.inf, np.float32) for name, count in channels.items()}
        self._high = {name: -low for name, low in self._low.items()}
        self._kept: dict[str, list[Array]] = {name: [] for name in channels}
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []
        ends = {"leanmark.first": [0], "leanmark.flat": [-1], "leanmark.last": [2**62]}
        self.tensors = {name: np.array(values) for name, values in ends.items()} if channels else {}
        for name, count in channels.items():
            prefix = _prefix(name)
            self.tensors[f"{prefix}.shape"] = np.array([-1, count])
            self.nodes.append(make_node("Reshape", [name, f"{prefix}.shape"], [f"{prefix}.rows"]))
            for kind, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
                self.nodes.append(over_first_axis(graph.model, kind, f"{prefix}.rows", f"{prefix}.{end}"))
                self.outputs.append(f"{prefix}.{end}")
            if sampled:
                self.tensors[f"{prefix}.step"] = np.array([self._steps[name]])
                self.nodes.append(make_node("Reshape", [name, "leanmark.flat"], [f"{prefix}.flat"]))
                slicing = [f"{prefix}.flat", "leanmark.first", "leanmark.last", "leanmark.first", f"{prefix}.step"]
                self.nodes.append(make_node("Slice", slicing, [f"{prefix}.part"]))
                self.outputs.append(f"{prefix}.part")

    def add(self, found: Mapping[str, Array], samples: int) -> None:
        """Record one batch."""
        for name in self.channels:
            prefix = _prefix(name)
            np.minimum(self._low[name], found[f"{prefix}.low"].ravel(), out=self._low[name])
            np.maximum(self._high[name], found[f"{prefix}.high"].ravel(), out=self._high[name])
            if name in self._steps:
                self._kept[name].append(found[f"{prefix}.part"])

    @property
    def largest(self) -> dict[str, Array]:
        """The largest absolute value of each channel, by name."""
        return {name: np.maximum(np.abs(low), np.abs(self._high[name])) for name, low in self._low.items()}

    def statistics(self, name: str, factors: Array | None = None, left_out: Collection[int] = ()) -> ValueStatistics:
        """Return a value's statistics after its channels are divided by factors, or some are left out."""
        count = self.channels[name]
        by = np.ones(count, np.float32) if factors is None else factors.astype(np.float32)
        stay = np.isin(np.arange(count), list(left_out), invert=True)
        low, high = float((self._low[name] / by)[stay].min()), float((self._high[name] / by)[stay].max())
        if name not in self._steps:
            return ValueStatistics(low, high)
        histogram = Histogram()
        for part in self._kept[name]:
            places = np.arange(len(part)) * self._steps[name] % count
            histogram.add((part / by[places])[stay[places]])
        return ValueStatistics(low, high, histogram)


def _prefix(name: str) -> str:
    return f"leanmark.channels.{name}"
