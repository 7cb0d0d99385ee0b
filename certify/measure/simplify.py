"""Simplification of the baseline: the simplified file is measured, so that padding does not pay.

The person who chooses the baseline can pad it: with averaged copies of itself, branches that add next to nothing,
kernels with zero borders, pairs of Casts, or Loops. All simplifications keep the outputs for real samples. What a
runtime removes itself on loading is not padding; a file from which nothing else can be removed stays unchanged.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from certify.core.errors import MeasureError, ModelError
from certify.core.evidence import Observation
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress
from certify.core.run_observations import Simplified
from certify.core.sample_order import SIMPLIFYING, order_seed, ranked
from certify.data.contract_slot import normalise
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure.client import Worker
from certify.measure.faster_form import RUNTIME, applies_to, faster_form
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import session_settings
from certify.measure.plan import Plan
from certify.model_file.model_file import kind_of, open_model
from certify.model_file.onnx_file.onnx_file import OnnxFile
from certify.model_file.onnx_graph.branches import branches, without
from certify.model_file.onnx_graph.control_flow import Counting
from certify.model_file.onnx_graph.equal_values import (
    OBSERVED,
    comparable_values,
    denormal_values,
    equal_values,
    looking_at,
    replaced,
)
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.load import load_model
from certify.model_file.onnx_graph.needless import needless_work
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS
from certify.model_file.onnx_graph.repetitions import looking_at_slices, repetitions, sliced_values
from certify.model_file.onnx_graph.trimming import trim_kernels
from certify.model_file.onnx_graph.unrolling import unroll

LARGEST_BYTES = 1_500_000_000
"""Size limit of files to simplify; a protobuf message holds at most 2 GB."""
LOOKS = 16
"""Number of samples on which values are compared."""
STRICTER = (1.0, 0.1, 0.001)
"""Fractions of the tolerance that are tried in turn until the outputs are kept."""
WORTH = 0.02
"""Least fraction of the cost or of the bytes that must be removed for a file to be changed."""
FEW, FEW_CHANGED = 2.0, 0.15
"""Factor on the tolerance, and fraction of changed answers, beyond which a few samples decide against a variant."""
BRANCHES = 8
"""Number of branches to try removing."""
NAMED = 6
"""Number of operator types to name."""
RUN_S = 60.0
"""Seconds allowed for the samples, beyond the worker's own limit."""
Outputs = npt.NDArray[np.float64]
TINY = 1e-300


@dataclass(frozen=True)
class _Bench:
    """A baseline and real samples on which to run its variants."""

    contract: Preprocess
    batch: int
    folder: Path
    samples: Path
    looks: Path

    def run(self, model: onnx.ModelProto, output: str, samples: Path) -> Outputs:
        """Return the output of a model for the samples in a file, (samples, ...)."""
        with self._worker(model, output) as worker:
            target = self.folder / "outputs.npy"
            worker.predict(samples, target, self.batch, RUN_S)
        values: Outputs = np.load(target).astype(np.float64)
        return values.reshape(len(values), -1)

    def as_loaded(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model as the runtime optimises it on loading, with constants folded."""
        target = self._place() / "loaded.onnx"
        with self._worker(model, self.contract.output_name, target):
            return load_model(target)

    def opened(self, model: onnx.ModelProto) -> Worker:
        """Start a worker that runs a model with all of the runtime's optimisations, and set its inputs."""
        looks = np.load(self.looks)
        timed = self._place() / "timed.npy"
        # Some files have a fixed batch, so the samples are repeated to whole batches.
        np.save(timed, looks[np.resize(np.arange(len(looks)), -(-len(looks) // self.batch) * self.batch)])
        worker = self._worker(model, self.contract.output_name, optimization="all")
        worker.inputs(timed, self.batch)
        return worker

    def cost(self, model: onnx.ModelProto) -> int:
        """Return the cost of one inference in multiply-adds; each written element counts as a few."""
        return Counting(inlined(model), 1).run(self.contract.port_shape(1)[1:]).total

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


def simplify(
    path: Path, contract: Preprocess, dataset: Dataset, plan: Plan, rules: MeasuringRules, progress: Progress
) -> Observation:
    """Simplify a baseline's file in place, if there is something to remove or to rewrite in a faster form.

    Args:
        path: the file, in normal form.
        contract: its preprocessing contract.
        dataset: data with the test samples to run it on.
        plan: plan with the batch, and the salt that an audit adds to the order of the samples.
        rules: rules of the edition.
        progress: display of the progress.

    Returns:
        Costs of the file before and after, what was removed, and what was rewritten.
    """
    with open_model(path) as model:
        size, digest = model.size_bytes(), model.file_digest()
    if kind_of(path) is not OnnxFile or size > LARGEST_BYTES:
        return Observation.of(Simplified(digest, size, size, unread="files of its kind or size are not looked at"))
    order = ranked(dataset.test.digests(), order_seed([digest], dataset.test_digest(), plan.salt), SIMPLIFYING)
    with tempfile.TemporaryDirectory(prefix="leanmark-simplify-") as name:
        folder = Path(name)
        bench = _Bench(contract, plan.batch, folder, folder / "samples.npy", folder / "looks.npy")
        for file, count in ((bench.samples, rules.simplified_samples), (bench.looks, LOOKS)):
            save_samples(file, dataset.test, order[: max(plan.batch, count)], contract)
        try:
            with progress.task("Simplifying the baseline"):
                original = load_model(path)
                answers = _Answers(bench, original)
                lean, found = _leanest(bench, original, answers, rules, int(digest[:8], 16))
            if applies_to(plan) and (faster := _faster(bench, lean or original, answers, rules, progress)) is not None:
                lean, found["rewritten"] = faster
        except (ModelError, MeasureError) as error:
            reason = " ".join(str(error).replace(f"{folder}/", "").split())
            return Observation.of(Simplified(digest, size, size, failed=reason))
        if lean is not None:
            onnx.save(lean, str(folder / "lean.onnx"))
            # In normal form, like the file that it replaces.
            normalise(folder / "lean.onnx", path, contract)
    return Observation.of(Simplified(digest, size, path.stat().st_size, **found))


def _faster(
    bench: _Bench, model: onnx.ModelProto, answers: _Answers, rules: MeasuringRules, progress: Progress
) -> tuple[onnx.ModelProto, list[str]] | None:
    """Return the model in a form that its runtime runs faster, and how it was rewritten; None if it stays."""
    with progress.task("Trying faster forms of the baseline"):
        forms = (model, bench.as_loaded(model))  # the loaded form lacks operators that separate others
        return faster_form(forms, bench.opened, lambda tried: answers.same(tried, rules.equal_outputs, rules))


def _leanest(
    bench: _Bench, original: onnx.ModelProto, answers: _Answers, rules: MeasuringRules, seed: int
) -> tuple[onnx.ModelProto | None, dict[str, Any]]:
    """Return the simplified model (None if not worthwhile), the costs of both, and what was removed."""
    # A copy, since unrolling changes the graph in place.
    flat = onnx.ModelProto()
    flat.CopyFrom(inlined(original))
    loops = unroll(flat.graph)
    loaded = bench.as_loaded(original)
    start = bench.as_loaded(flat) if loops else loaded
    cost = bench.cost(loaded)
    kinds = comparable_values(start, bench.contract.port_shape(1)[1:])
    observed = bench.run(looking_at(start, list(kinds), seed), OBSERVED, bench.looks)
    lean, cut = start, list[str]()
    for share in STRICTER:
        equal = equal_values(kinds, observed, share * rules.equal_values)
        tried = replaced(start, equal)
        kernels = trim_kernels(tried)
        if not equal and not kernels:
            break
        tried = bench.as_loaded(tried)
        if answers.same(tried, rules.equal_outputs, rules):
            lean, cut = tried, kernels
            break
    lean = _without_branches(bench, lean, kinds, answers, rules)
    left = bench.cost(lean)
    needless = _needless(bench, lean, rules, seed, denormal_values(kinds, observed))
    # Either saving alone is enough to change the file.
    if left > (1 - WORTH) * cost and lean.ByteSize() > (1 - WORTH) * original.ByteSize():
        return None, {"given_cost": cost, "cost": cost, **needless}
    trips = [f"{len(loops)} loops with fixed trip counts"] if loops else []
    kernels = [f"the borders of {len(cut)} kernels"] if cut else []
    return lean, {"given_cost": cost, "cost": left, "removed": [*_fewer(start, lean), *trips, *kernels], **needless}


def _needless(
    bench: _Bench, lean: onnx.ModelProto, rules: MeasuringRules, seed: int, denormal: set[str]
) -> dict[str, Any]:
    """Return the work that remains although the outputs do not need it, and the operators with the most of it."""
    sample = bench.contract.port_shape(1)[1:]
    kinds = comparable_values(lean, sample)
    axes = sliced_values(lean, kinds)
    observed = bench.run(looking_at_slices(lean, axes, kinds, seed), OBSERVED, bench.looks) if axes else None
    repeats = {} if observed is None else repetitions(axes, observed, rules.equal_values)
    found = needless_work(lean, sample, repeats, denormal)
    most = sorted(found, key=lambda name: -found[name])[:NAMED]
    return {"needless_cost": sum(found.values()), "needless": most} if found else {}


def _without_branches(
    bench: _Bench, lean: onnx.ModelProto, kinds: Mapping[str, tuple[int, ...]], answers: _Answers, rules: MeasuringRules
) -> onnx.ModelProto:
    """Remove parallel branches that the outputs do not need; this fixes the file to the batch size."""
    for branch in branches(lean.graph)[:BRANCHES]:
        computed = any(branch in node.output for node in lean.graph.node)
        kind = kinds.get(branch) if computed else None
        if kind is None:
            continue
        tried = without(lean, branch, (bench.batch, *kind[2:]), kind[0])
        if bench.cost(tried) < (1 - WORTH) * bench.cost(lean) and answers.same(tried, rules.equal_values, rules):
            lean = bench.as_loaded(tried)
    return lean


class _Answers:
    """Outputs of a baseline for the samples, computed on first use."""

    def __init__(self, bench: _Bench, original: onnx.ModelProto) -> None:
        self._bench = bench
        self._before = functools.cache(lambda samples: bench.run(original, bench.contract.output_name, samples))

    def same(self, lean: onnx.ModelProto, most: float, rules: MeasuringRules) -> bool:
        """Return whether another model agrees: in top-1 and in all outputs up to a common factor, or in the number.

        Args:
            lean: the other model.
            most: largest unexplained fraction of the outputs' spread.
            rules: rules with the fraction of samples that must have the same top-1 class.
        """
        # A few samples show most differences.
        error, equal = self._compared(lean, self._bench.looks)
        if error > FEW * most or equal < 1 - FEW_CHANGED:
            return False
        error, equal = self._compared(lean, self._bench.samples)
        return error <= most and equal >= rules.equal_answers

    def _compared(self, lean: onnx.ModelProto, samples: Path) -> tuple[float, float]:
        """Return the unexplained fraction of the outputs' spread, and the fraction of equal top-1 classes."""
        before, after = self._before(samples), self._bench.run(lean, self._bench.contract.output_name, samples)
        # A common positive factor changes no answer, so the one that fits best is allowed.
        scale = float(np.vdot(before, after)) / max(float(np.vdot(after, after)), TINY)
        if before.shape[1] == 1:  # a single number, for which a factor matters
            scale = 1.0
        error = float(np.sqrt(np.mean((before - scale * after) ** 2)))
        same = float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))
        return error / max(float(np.std(before)), TINY) if scale > 0 else math.inf, same


def _fewer(before: onnx.ModelProto, after: onnx.ModelProto) -> list[str]:
    """Return how many operators of each type were removed."""
    types = [Counter(n.op_type for n in model.graph.node if n.domain in STANDARD_DOMAINS) for model in (before, after)]
    gone = (types[0] - types[1]).most_common(NAMED)
    return [f"{count} of {types[0][name]} {name}" for name, count in gone]
