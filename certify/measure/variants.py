"""Variants of a baseline, run on real samples to see whether the answers stay the same."""

from __future__ import annotations

import functools
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from certify.core.errors import ModelError
from certify.core.measuring_rules import MeasuringRules
from certify.data.preprocess import Preprocess
from certify.measure.client import Worker
from certify.measure.faster_form import RUNTIME
from certify.measure.model_under_test import session_settings
from certify.model_file.onnx_graph.control_flow import Counting
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.load import load_model
from certify.model_file.onnx_graph.work import Work

FEW, FEW_CHANGED = 2.0, 0.15
"""Multiple of the tolerance, and fraction of changed answers, above which a few samples rule out a variant."""
RUN_S = 60.0
"""Seconds allowed for the samples, beyond the worker's own limit."""
Outputs = npt.NDArray[np.float64]
TINY = 1e-300


@dataclass(frozen=True)
class VariantBench:
    """A baseline and real samples on which to run its variants."""

    contract: Preprocess
    batch: int
    folder: Path
    samples: Path
    looks: Path

    def run(self, model: onnx.ModelProto, output: str, samples: Path) -> Outputs:
        """Return the output of a model for the samples in a file, (samples, ...)."""
        with self._started(model, output) as worker:
            target = self.folder / "outputs.npy"
            worker.predict(samples, target, self.batch, RUN_S)
        values: Outputs = np.load(target).astype(np.float64)
        return values.reshape(len(values), -1)

    def as_loaded(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model as the runtime optimises it on loading, with constants folded."""
        target = self._place() / "loaded.onnx"
        with self._started(model, self.contract.output_name, target):
            return load_model(target)

    def opened(self, model: onnx.ModelProto) -> Worker:
        """Start a worker that runs a model with all of the runtime's optimisations, and set its inputs."""
        looks = np.load(self.looks)
        timed = self._place() / "timed.npy"
        # Samples are repeated to fill whole batches, because some files have a fixed batch.
        np.save(timed, looks[np.resize(np.arange(len(looks)), -(-len(looks) // self.batch) * self.batch)])
        worker = self._worker(model, self.contract.output_name, optimization="all")
        worker.inputs(timed, self.batch)
        return worker

    def cost(self, model: onnx.ModelProto) -> int:
        """Return the cost of one inference in multiply-adds; each written element counts as several."""
        return self.work(model).total

    def work(self, model: onnx.ModelProto) -> Work:
        """Return the work of one inference."""
        return Counting(inlined(model), 1).run(self.contract.port_shape(1)[1:])

    def _started(self, model: onnx.ModelProto, output: str, optimised: Path | None = None) -> Worker:
        try:
            return self._worker(model, output, optimised)
        except ModelError:
            # The optimiser may stop at names that it gave to constants when it loaded an earlier variant.
            return self._worker(model, output, optimised, "none")

    def _worker(
        self, model: onnx.ModelProto, output: str, optimised: Path | None = None, optimization: str = "basic"
    ) -> Worker:
        path = self._place() / "variant.onnx"
        onnx.save(model, str(path))
        shape = self.contract.port_shape(self.batch)
        settings = session_settings(RUNTIME, 1, self.contract.input_names, output, optimised, shape)
        return Worker("baseline", path, {**settings, "graph_optimization": optimization})

    def _place(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="", dir=self.folder))


class Answers:
    """Outputs of a baseline for the samples, computed on first use."""

    def __init__(self, bench: VariantBench, original: onnx.ModelProto) -> None:
        self._bench = bench
        self._before = functools.cache(lambda samples: bench.run(original, bench.contract.output_name, samples))

    def same(self, lean: onnx.ModelProto, most: float, rules: MeasuringRules, offset: bool = False) -> bool:
        """Return whether another model agrees in top-1 and, up to a common factor, in all outputs, or in the number.

        Args:
            lean: the other model.
            most: largest unexplained fraction of the outputs' spread over the samples.
            rules: rules with the fraction of samples that must have the same top-1 class.
            offset: whether to correct the mean of each output, as the bias of the last layer could do.
        """
        # A few samples are enough to find most differences.
        error, equal = self._compared(lean, self._bench.looks, offset)
        if error > FEW * most or equal < 1 - FEW_CHANGED:
            return False
        error, equal = self._compared(lean, self._bench.samples, offset)
        return error <= most and equal >= rules.equal_answers

    def _compared(self, lean: onnx.ModelProto, samples: Path, offset: bool) -> tuple[float, float]:
        """Return the unexplained fraction of the outputs' spread, and the fraction of equal top-1 classes."""
        before = self._before(samples)
        try:
            after = self._bench.run(lean, self._bench.contract.output_name, samples)
        except ModelError:
            return math.inf, 0.0  # a variant that cannot be run says nothing about the baseline
        if before.shape != after.shape:
            return math.inf, 0.0
        if offset:
            after = after - after.mean(axis=0) + before.mean(axis=0)
        # A common positive factor changes no answer, so the best-fitting factor is applied.
        # The least-squares factor of before on after.
        scale = float(np.vdot(before, after)) / max(float(np.vdot(after, after)), TINY)
        if before.shape[1] == 1:  # a factor would change a single number
            scale = 1.0
        error = float(np.sqrt(np.mean((before - scale * after) ** 2)))
        same = float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))
        # About each output's own mean: what is the same for all samples tells nothing about an answer.
        spread = float(np.sqrt(np.mean((before - before.mean(axis=0)) ** 2)))
        return error / max(spread, TINY) if scale > 0 else math.inf, same
