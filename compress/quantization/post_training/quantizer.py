"""A quantizer that prepares a model once, then quantizes it with different layers kept in floats."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.file_scores import file_scores
from compress.core.free_memory import free_bytes
from compress.core.pass_protocol import Declined
from compress.core.targets import Target
from compress.onnx_graph.graph import Array, Graph
from compress.quantization.post_training.batch_size import choose_batch
from compress.quantization.post_training.bias_correction import MeanRecorder, correct_biases, correctable, own_biases
from compress.quantization.post_training.calibration import Feeds, RangeRecorder
from compress.quantization.post_training.channel_ends import ChannelRecorder
from compress.quantization.post_training.equalization import equalize
from compress.quantization.post_training.float_changes import Candidates, change
from compress.quantization.post_training.hard_gates import fit_ranges
from compress.quantization.post_training.outlier_channels import read_floats
from compress.quantization.post_training.qdq import Operators, observed_names, plan, quantized
from compress.quantization.post_training.ranges import Calibration
from compress.quantization.post_training.recording import OutputRecorder, record
from compress.quantization.post_training.saturation import Saturation, simulate
from compress.quantization.post_training.sensitivity import output_noise, outputs
from compress.quantization.post_training.weight_only import plain_products, with_int4_weights

MEANS_FROM = 32
"""Number of samples for means and for the noise of layers."""
VALIDATED = 1024
"""Number of validation samples for judging a loss, spread evenly over the part."""


@dataclass(frozen=True)
class StaticSettings:
    """Settings of static quantization; the fields are those of the pass QuantizeStatic.

    Attributes:
        pass_name: name of the pass, for errors.
        target: types and kernels.
        operators: operators to quantize.
        per_channel: whether each output channel of a weight has its own scale.
        samples: number of calibration samples.
        batch: samples per run; None for as many as fit into memory.
        calibration: method that computes a range from them.
        percentile: share of the values inside a range, for ``percentile``.
        equalize: whether neighbouring layers are equalised; None for only with one scale per tensor.
        smooth: alpha of SmoothQuant; 0 disables it.
        outliers: largest number of outlier channels that a product computes apart; 0 disables it.
        correct_bias: whether biases compensate the mean error of rounded weights.
        max_loss: relative loss in percent above which layers stay float; None for the budget.
        max_float: largest share of layers that may stay float for it.
        max_time: largest share of the float file's time; None for the target's.
        keep_nodes: nodes that stay float.
        keep_first: whether the first layer stays float.
        keep_last: whether the last layer stays float.
    """

    pass_name: str
    target: Target
    operators: Operators
    per_channel: bool
    samples: int
    batch: int | None
    calibration: Calibration
    percentile: float
    equalize: bool | None
    smooth: float
    outliers: int
    correct_bias: bool
    max_loss: float | None
    max_float: float
    max_time: float | None
    keep_nodes: tuple[str, ...]
    keep_first: bool
    keep_last: bool


@dataclass(frozen=True)
class Loss:
    """Relative loss of accuracy on the same samples, in percent.

    Attributes:
        value: loss; negative for a gain.
        significant: loss beyond one standard error of the paired differences, so that chance flips of a few samples do
            not count.
    """

    value: float
    significant: float

    @classmethod
    def of(cls, before: Array, after: Array) -> Loss:
        """Compute the loss from correctness before and after, bool (n,)."""
        right = max(1, int(before.sum()))
        lost, gained = int((before & ~after).sum()), int((~before & after).sum())
        # Relative to what the float file got right, as in the certificate.
        value = 100 * (lost - gained) / right
        # Each discordant pair counts 1; without a difference their signs are random, with variance lost + gained.
        return cls(value, value - 100 * math.sqrt(lost + gained) / right)


class Quantizer:
    """A float model with its ranges, from which quantized models are made.

    Args:
        settings: settings of the pass.
        source: the float file.
        graph: prepared graph with at least one layer with weights; it is equalised and smoothed in place.
        context: calibration and validation data, and progress.
        int4: names of nodes that never become integers, with 4-bit weights where they are matrix products.

    Raises:
        UsageError: there are no calibration samples.
        ModelError: the model does not run.

    Attributes:
        notes: what was done before rounding, for the record.
        declined: what was left unchanged before rounding.
        judged: whether there are a budget and validation data to judge a loss.
        limit: largest allowed :meth:`excess`.
        settings: settings of the pass.
        batch: samples per run of the model.
        source: the float file.
    """

    def __init__(
        self, settings: StaticSettings, source: Path, graph: Graph, context: PassContext, int4: Sequence[str] = ()
    ) -> None:
        self.settings = settings
        self.source = source
        self._target = settings.target
        self._context = context
        self._floats = graph
        self._int4 = tuple(int4)
        chosen = choose_batch(graph, free_bytes())
        self.batch = settings.batch or chosen.samples
        feeding = context, graph.model
        self._few = Feeds(*feeding, min(settings.samples, MEANS_FROM), self.batch, settings.pass_name)
        self._others = Feeds(*feeding, settings.samples, self.batch, settings.pass_name, skipped=self._few.samples)
        budget = context.max_loss_percent if settings.max_loss is None else settings.max_loss
        self.judged = budget is not None and context.data.validation is not None
        self.limit = budget if budget is not None and self.judged else 0.0
        self.notes: dict[str, Any] = {
            "calibration_samples": self._few.samples + self._others.samples,
            "calibration_batch": self.batch,
            "activation_bytes": chosen.activation_bytes,
        }
        if products := [node.name for node in plain_products(graph) if node.name in self._int4]:
            self.notes["int4"] = products
        self.declined: tuple[Declined, ...] = ()
        self._float_nodes: tuple[str, ...] = ()
        self._last: tuple[tuple[str, ...], onnx.ModelProto] | None = None
        self._last_excess: tuple[onnx.ModelProto, float] | None = None
        if settings.equalize or (settings.equalize is None and not settings.per_channel):
            self.notes["equalised_pairs"], declined = equalize(graph)
            self.declined += declined
        self._ranges, self._wanted, self._means = self._recorded()

    def _recorded(self) -> tuple[dict[str, tuple[float, float]], Array, dict[str, Array]]:
        """Smooth, and add biases; return the ranges from all samples, and outputs and mean inputs from the first ones.

        The float model computes the same afterwards, so the first samples run only once, before it is changed.
        """
        settings, graph, histograms = self.settings, self._floats, self.settings.calibration != "minmax"
        found = Candidates.of(graph, smooths=settings.smooth > 0, splits=settings.outliers > 0)
        ends = ChannelRecorder(graph, found.channels(graph), sampled=histograms)
        names = [name for name in self._observed(()) if name not in ends.channels]
        first = RangeRecorder(graph, names, histograms=histograms)
        wanted = OutputRecorder(self._context.preprocess.output_name)
        means = MeanRecorder(graph, correctable(graph) if settings.correct_bias else [])
        with self._context.progress.task("Calibrating", len(self._few) + len(self._others)) as bar:
            record(graph, [ends, first, wanted, means], self._few, bar.advance)
            done = change(graph, found, ends.largest, settings.smooth, settings.outliers)
            if settings.correct_bias:
                own_biases(graph)
            # Index again, because smoothing inserted nodes and equalisation replaced constants.
            self._floats = graph = Graph(graph.model)
            # Inserted multiplications stay float: rounding their factors would bring the outliers back.
            self._float_nodes, names = done.float_nodes, self._observed(done.float_nodes)
            self.notes |= done.notes
            self.declined += found.declined
            known = done.known(names, ends, first.statistics)
            if missing := [name for name in names if name not in known]:
                again = RangeRecorder(graph, missing, histograms=histograms)
                record(graph, [again], self._few)
                known |= again.statistics
            seen = RangeRecorder(graph, names, histograms=histograms, ignored=done.left_out, known=known)
            if len(self._others):
                record(graph, [seen], self._others, bar.advance)
        ranges = seen.ranges(settings.calibration, settings.percentile)
        return fit_ranges(graph, ranges, settings.target), wanted.values, done.means(means.means)

    def _observed(self, floats: Sequence[str]) -> list[str]:
        settings = self.settings
        chosen = plan(self._floats, settings.target, settings.operators, floats, scores=True)
        return observed_names(self._floats, chosen)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the products of queries and keys that become integers unless they are kept."""
        return plan(self._floats, self._target, self.settings.operators, (), scores=True).scores

    @property
    def floats(self) -> Graph:
        """The float model from which quantized ones are made."""
        return self._floats

    def make(self, kept: Sequence[str]) -> onnx.ModelProto:
        """Quantize with some nodes kept in floats; the result must not be modified."""
        if self._last is not None and self._last[0] == tuple(kept):  # the last result is requested again
            return self._last[1]
        settings = self.settings
        aside = (*kept, *self._int4, *self._float_nodes)
        chosen = plan(self._floats, self._target, settings.operators, aside, scores=True)
        integers = quantized(self._floats.model, chosen, self._ranges, self._target, per_channel=settings.per_channel)
        read_floats(integers, self._float_nodes)
        if settings.correct_bias:
            self.notes["corrected_biases"] = correct_biases(self._floats, Graph(integers), self._means)
        self._last = tuple(kept), with_int4_weights(integers, self._int4)
        return self._last[1]

    def excess(self, candidate: onnx.ModelProto) -> float:
        """Return the loss beyond its sampling error, in percent, if it can be judged; infinite for a ruined model.

        A model is ruined if its outputs are further from the float model's than the latter's mean is.
        """
        if self._last_excess is None or self._last_excess[0] is not candidate:  # several steps ask about the same model
            self._last_excess = candidate, self._excess_of(candidate)
        return self._last_excess[1]

    def _excess_of(self, candidate: onnx.ModelProto) -> float:
        output, wanted = self._context.preprocess.output_name, self._wanted
        found = outputs(candidate, output, self._few, as_here=self._target.saturates)
        # Negated, so that a NaN counts as ruined. A constant equal to the mean would be exactly at the bound.
        if not np.square(found - wanted).sum() <= np.square(wanted - wanted.mean(axis=0)).sum():
            return math.inf
        return self.loss(candidate).significant if self.judged else 0.0

    def loss(self, candidate: onnx.ModelProto) -> Loss:
        """Return the loss of accuracy relative to the float file on validation data."""
        with tempfile.TemporaryDirectory(dir=self._context.workspace, prefix=".validate.") as scratch:
            written = Path(scratch) / "quantized.onnx"
            onnx_file.save(candidate, written)
            return Loss.of(self._correct, self._scored(written))

    @cached_property
    def _correct(self) -> Array:
        return self._scored(self.source)

    def _scored(self, path: Path) -> Array:
        context = self._context
        split = context.data.part("validation", self.settings.pass_name)
        if len(split) > VALIDATED:
            # Evenly spaced, because folders are sorted by class.
            split = split.subset(np.linspace(0, len(split) - 1, VALIDATED).astype(int))
        classes, as_here = len(context.data.classes), self._target.saturates
        return file_scores(path, split, context.preprocess, classes, self.batch, as_here=as_here).correct

    def worst_first(self, candidate: onnx.ModelProto) -> list[str]:
        """Return the names of the quantized layers, the one that disturbs the output most first."""
        layers = len(self._floats.weighted())
        noise = {}
        with self._context.progress.task("Ranking layers by quantization error", layers) as bar:
            feeds = list(self._few)
            for name, ratio_db in output_noise(
                self._floats, Graph(candidate), self._context.preprocess.output_name, feeds
            ):
                noise[name] = ratio_db
                bar.advance(1)
        return sorted(noise, key=lambda name: noise[name])

    def saturation(self, candidate: Graph) -> Saturation:
        """Simulate on one batch what 16-bit sums would clip."""
        batch = Feeds(self._context, candidate.model, self.batch, self.batch, self.settings.pass_name)
        return simulate(candidate, batch, self._context.seed)
