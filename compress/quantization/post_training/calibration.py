"""Ranges of activations from a stream of samples, in constant memory.

ONNX Runtime's own calibrators for percentile and entropy keep every activation of every sample. Here the runtime
itself reduces each activation to its minimum and maximum and, if a histogram is needed, an evenly spaced subset of its
values, so that only these are returned.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx

from certify.core.errors import ModelError
from certify.core.progress import Progress
from certify.data.split import Split
from compress.core.context import PassContext
from compress.onnx_graph.graph import Array, Feed, Graph
from compress.quantization.post_training.histogram import Histogram
from compress.quantization.post_training.ranges import Calibration, ValueStatistics, value_range
from compress.quantization.post_training.recording import record

SAMPLED = 1 << 11
"""Approximate number of values per activation and sample that enter its histogram."""


class Feeds:
    """Batches of calibration samples in a seeded order, preprocessed by the contract on demand.

    Args:
        context: data, contract and seed.
        model: model to feed; a fixed batch determines the size of each feed.
        samples: maximum number of samples.
        batch: samples per feed.
        wanted_by: name of the pass, for the error.
        split: samples of another part.
        skipped: number of samples at the beginning of the order that are left out.
        whole: whether a last feed that a fixed batch does not fill is left out, and not filled up with copies.

    Raises:
        UsageError: there are no calibration samples.
    """

    def __init__(
        self,
        context: PassContext,
        model: onnx.ModelProto,
        samples: int,
        batch: int,
        wanted_by: str,
        split: Split | None = None,
        skipped: int = 0,
        *,
        whole: bool = False,
    ) -> None:
        self._split = split or context.data.part("calibration", wanted_by)
        self._preprocess = context.preprocess
        # Files are often sorted by class, so the first samples do not represent the data.
        order = np.random.default_rng(context.seed).permutation(len(self._split))[skipped:samples]
        self.samples = len(order)
        fixed = _fixed_batch(model, context.preprocess.input_names[0])
        step = fixed or batch
        self._batches = [order[begin : begin + step] for begin in range(0, len(order), step)]
        if whole and fixed and len(self._batches) > 1 and len(order) % fixed:
            self.samples -= len(self._batches.pop())
        if fixed and self._batches:  # pad the last batch
            # Repeats samples, which moves neither minimum nor maximum.
            self._batches[-1] = np.resize(self._batches[-1], fixed)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Feed]:
        for indices in self._batches:
            yield self._preprocess.feed(self._split, indices)

    def watched(self, progress: Progress, description: str) -> Generator[Feed, None, None]:
        """Yield the feeds, with a progress bar that advances by one per batch; to be closed, which ends the bar."""
        with progress.task(description, len(self)) as bar:
            for feed in self:
                yield feed
                bar.advance(1)


def _fixed_batch(model: onnx.ModelProto, name: str) -> int:
    dims = [value.type.tensor_type.shape.dim for value in model.graph.input if value.name == name]
    return int(dims[0][0].dim_value) if dims and dims[0] else 0


class RangeRecorder:
    """Records the values that some activations take.

    Args:
        graph: graph of the model that runs.
        names: names of float values that it computes, or of its inputs.
        histograms: whether to keep a histogram of each besides its minimum and maximum.
        ignored: channels (of the last axis) that are not recorded, for some of the names.
        known: what is already known of some of the names from other samples.
    """

    def __init__(
        self,
        graph: Graph,
        names: Sequence[str],
        *,
        histograms: bool = False,
        ignored: Mapping[str, Sequence[int]] | None = None,
        known: Mapping[str, ValueStatistics] | None = None,
    ) -> None:
        self._names, self._histograms = list(names), histograms
        ignored = ignored or {}
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []
        # 2**62, because Slice clips an end beyond the last element.
        ends = {"leanmark.flat": [-1], "leanmark.first": [0], "leanmark.last": [2**62]}
        self.tensors = {name: np.array(values) for name, values in ends.items()}
        for index, name in enumerate(names):
            part, step = f"leanmark.{index}.part", sampling_step(graph, name)
            if name in ignored:
                kept = np.delete(np.arange((graph.shape(name) or (0,))[-1]), ignored[name])
                self.tensors[f"leanmark.{index}.kept"] = kept
                taking = [name, f"leanmark.{index}.kept"]
                name = f"leanmark.{index}.others"
                self.nodes.append(onnx.helper.make_node("Gather", taking, [name], axis=-1))
            ends_of = _reductions(graph, name, f"leanmark.{index}")
            self.nodes += ends_of
            self.outputs += [node.output[0] for node in ends_of if node.op_type != "GlobalMaxPool"]
            if histograms:
                flat, every = f"{part}.flat", f"{part}.step"
                self.tensors[every] = np.array([step])
                self.nodes.append(onnx.helper.make_node("Reshape", [name, "leanmark.flat"], [flat]))
                slicing = [flat, "leanmark.first", "leanmark.last", "leanmark.first", every]
                self.nodes.append(onnx.helper.make_node("Slice", slicing, [part]))
                self.outputs.append(part)
        self._ends = dict.fromkeys(names, (math.inf, -math.inf))
        self._kept = {name: Histogram() for name in names} if histograms else {}
        for name, seen in (known or {}).items():
            self._widen(name, seen.low, seen.high)
            if seen.histogram is not None:
                self._kept[name] = seen.histogram

    def add(self, found: Mapping[str, Array], samples: int) -> None:
        """Record one batch.

        Raises:
            ModelError: a value is not finite.
        """
        for index, name in enumerate(self._names):
            low, high = float(found.get(f"leanmark.{index}.low", 0.0)), float(found[f"leanmark.{index}.high"])
            self._widen(name, low, high)
            if self._histograms:
                self._kept[name].add(found[f"leanmark.{index}.part"])

    def _widen(self, name: str, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ModelError(
                f"The value '{name}' of the graph is not finite on calibration samples; check its weights."
            )
        self._ends[name] = min(self._ends[name][0], low), max(self._ends[name][1], high)

    @property
    def statistics(self) -> dict[str, ValueStatistics]:
        """The values by name; the minimum after a ReLU is given as 0, which every range contains."""
        return {name: ValueStatistics(*self._ends[name], self._kept.get(name)) for name in self._names}

    def ranges(self, calibration: Calibration, percentile: float) -> dict[str, tuple[float, float]]:
        """Return the range over which 8 bits are spread, by name.

        Args:
            calibration: method that computes a range from the observed values; all but minmax need histograms.
            percentile: share of the values inside the range, in %, for that method.
        """
        return {name: value_range(each, calibration, percentile) for name, each in self.statistics.items()}


def observe(
    graph: Graph, names: Sequence[str], feeds: Iterable[Feed], *, histograms: bool = False
) -> dict[str, ValueStatistics]:
    """Record the values that some activations take on all feeds; see :class:`RangeRecorder`.

    Raises:
        ModelError: a value is not finite, or the model does not run.
    """
    recorder = RangeRecorder(graph, names, histograms=histograms)
    record(graph, [recorder], feeds)
    return recorder.statistics


def _reductions(graph: Graph, name: str, prefix: str) -> list[onnx.NodeProto]:
    """Return the operators that compute the ends of an activation, under ``prefix.low`` and ``prefix.high``.

    The maximum of a map after a ReLU is pooled, which ONNX Runtime does in the layout of its convolutions; a reduction
    would have it rearranged first, and the two together take longer than the convolutions.
    """
    make_node, before = onnx.helper.make_node, graph.producers.get(name)
    if before is None or not _cuts_at_zero(graph, before):
        ends = (("ReduceMin", "low"), ("ReduceMax", "high"))
        return [make_node(kind, [name], [f"{prefix}.{end}"], keepdims=0) for kind, end in ends]
    if len(graph.shape(name) or ()) < 3:
        return [make_node("ReduceMax", [name], [f"{prefix}.high"], keepdims=0)]
    pooled = make_node("GlobalMaxPool", [name], [f"{prefix}.maps"])
    return [pooled, make_node("ReduceMax", [f"{prefix}.maps"], [f"{prefix}.high"], keepdims=0)]


def _cuts_at_zero(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether an operator replaces negative values, and nothing else, by 0."""
    if node.op_type != "Clip" or len(node.input) < 2:
        return node.op_type == "Relu"
    smallest = graph.constant(node.input[1])
    return smallest is not None and bool(smallest == 0)


def ranges(
    graph: Graph, names: Sequence[str], feeds: Iterable[Feed], calibration: Calibration, percentile: float
) -> dict[str, tuple[float, float]]:
    """Compute the range over which 8 bits are spread, for some activations.

    Args:
        graph: graph of the model that runs.
        names: as for :func:`observe`.
        feeds: inputs, one batch at a time.
        calibration: method that computes a range from the observed values.
        percentile: share of the values inside the range, in %, for that method.

    Raises:
        ModelError: a value is not finite, or the model does not run.
    """
    recorder = RangeRecorder(graph, names, histograms=calibration != "minmax")
    record(graph, [recorder], feeds)
    return recorder.ranges(calibration, percentile)


def sampling_step(graph: Graph, name: str) -> int:
    """Return the stride of the observed values: coprime with a sample's size, so that no channel is missed."""
    elements = math.prod(size for size in graph.shape(name) or (0,) if size)
    step = max(1, elements // SAMPLED)
    # A stride that divides the size would visit the same channels in every row.
    while step > 1 and math.gcd(step, elements) > 1:
        step += 1
    return step
