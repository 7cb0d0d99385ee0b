"""Pruning down to a measured time: candidates are exported and timed against the original, in turn.

Multiply-adds say little about time: a memory-bound layer, a width that the kernels do not like, or an operator between
keeps its cost. So the share of multiply-adds is searched at which the exported file itself is as fast as asked (Yang et
al., "NetAdapt", ECCV 2018, arXiv 1804.03230, measures in the loop for the same reason).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from certify.core.estimate import Estimate
from certify.core.feeding import by_input
from certify.core.redraw import still
from certify.core.statistics.quantiles import quantile_estimate
from certify.data import Preprocess
from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import PassRecord
from compress.exchange.onnx_export import export

PAIRS = 21
"""Timings of each; the interval of the median then lies between the 6th and the 16th of the ratios."""
WINDOW_S = 0.02
"""Least time of one timing: far above the clock's resolution and below a scheduler's slowest turns."""
CONFIDENCE = 0.95
TRIALS = 6
AIM = 0.99
"""Of the target, so that a guess that is right does not miss it by a hair."""
CLOSE = 0.03
"""The search ends once the share of multiply-adds is known this closely."""
METHOD = "median ratio of single-sample times in ONNX Runtime on one core, timed in turn"


@dataclass(frozen=True)
class Trial:
    """A candidate that was timed.

    Attributes:
        macs_share: of the original's multiply-adds that it has.
        time_share: of the original's time that it took.
    """

    macs_share: float
    time_share: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain numbers for the record."""
        return {"macs_share": self.macs_share, "time_share": self.time_share.to_json()}


class Stopwatch:
    """Times models against an original, each as the exported file in ONNX Runtime.

    Args:
        original: that the shares refer to.
        preprocess: the contract to export with.
        sample: (1, ...) that is run.
        classes: outputs.

    Raises:
        ModelError: the model can't be exported.
    """

    def __init__(
        self, original: nn.Module, preprocess: Preprocess, sample: npt.NDArray[np.float32], classes: int
    ) -> None:
        self._preprocess, self._sample, self._classes = preprocess, sample, classes
        self._original = self._runner(original)

    def time_share(self, model: nn.Module) -> Estimate:
        """The model's time over the original's, with the interval of the median over pairs of timings in turn.

        Raises:
            ModelError: the model can't be exported.
        """
        return paired(self._original, self._runner(model))

    def _runner(self, model: nn.Module) -> Callable[[], object]:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1  # the waiting threads of a second session would slow the first
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "timed.onnx"
            export(model, self._preprocess, path, classes=self._classes)
            session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        feed = by_input(self._preprocess.input_names, self._sample)
        return lambda: session.run([self._preprocess.output_name], feed)


def paired(original: Callable[[], object], candidate: Callable[[], object]) -> Estimate:
    """Ratio of the times of two calls, candidate over original, timed in turn and each first every other time."""
    original(), candidate()  # caches and lazily made buffers
    runs = max(1, round(WINDOW_S / max(1e-6, statistics.median(_timed(original, 1) for _ in range(3)))))
    ratios = []
    for pair in range(PAIRS):
        if pair % 2:
            changed = _timed(candidate, runs)
            ratios.append(changed / _timed(original, runs))
        else:
            unchanged = _timed(original, runs)
            ratios.append(_timed(candidate, runs) / unchanged)
    return replace(quantile_estimate(ratios, 0.5, CONFIDENCE), unit="1", method=METHOD)


@still()
def _timed(call: Callable[[], object], runs: int) -> float:
    began = time.perf_counter()
    for _ in range(runs):
        call()
    return time.perf_counter() - began


def search(attempt: Callable[[float], Trial | None], wanted: float) -> list[Trial]:
    """Look for the most multiply-adds at which the time is at most what is wanted, with its whole interval.

    Time is taken to be a straight line in the multiply-adds between what is known; where that guess would not narrow
    what is left, the middle of it is tried.

    Args:
        attempt: times a candidate with at most that share of the multiply-adds; None where there is none.
        wanted: share of the original's time.

    Returns:
        Every candidate that was timed, in order.
    """
    tried: list[Trial] = []
    least, most = 0.0, 1.0
    guess = wanted
    while len(tried) < TRIALS and most - least > CLOSE:
        trial = attempt(guess)
        if trial is None:
            break
        tried.append(trial)
        if trial.time_share.high <= wanted:
            least = guess
        else:
            most = min(guess, trial.macs_share)
        guess = _between(least, most, tried, wanted)
    return tried


def prune_to_latency(
    prune_at: Callable[..., tuple[nn.Module, PassRecord]], model: nn.Module, context: PassContext, wanted: float
) -> tuple[nn.Module, PassRecord]:
    """Prune to the share of the multiply-adds at which the time is as wanted.

    Candidates are pruned at once and never trained; the one that is chosen is then made with everything that was
    asked for, and timed again, since the figure that it was chosen for is likely to be too good.

    Args:
        prune_at: prunes a copy of the model to a share of the multiply-adds; at once, where it is for a ``trial``.
        model: left as it is.
        context: the shares refer to its teacher, where it has one.
        wanted: share of the original's time.

    Raises:
        ModelError: the model can't be exported.
    """
    sample = context.sample(1)
    with torch.no_grad():
        classes = eval_copy(model)(sample).shape[1]
    stopwatch = Stopwatch(context.teacher or model, context.preprocess, context.samples(1), classes)
    refused: list[str] = []

    def attempt(share: float) -> Trial | None:
        candidate, record = prune_at(share, trial=True)
        if not record.changed:
            refused.append(record.declined[0].why)
            return None
        return Trial(record.done["macs_share"], stopwatch.time_share(candidate))

    tried = search(attempt, wanted)
    chosen = best(tried, wanted)
    if chosen is not None:
        pruned, record = prune_at(chosen.macs_share, trial=False)
        reached = stopwatch.time_share(pruned)
        if record.changed and reached.value <= wanted:
            found = {"latency_share": reached.to_json(), "latency_trials": [trial.to_json() for trial in tried]}
            return pruned, PassRecord({**record.done, **found}, record.declined)
        tried.append(Trial(chosen.macs_share, reached))
    shown = ", ".join(f"{trial.time_share} at {trial.macs_share:.3f} of the multiply-adds" for trial in tried)
    why = f"{wanted:g} of the time can't be reached; measured: {shown or 'nothing'}"
    return eval_copy(model), PassRecord.refused("; ".join([why, *refused]))


def _between(least: float, most: float, tried: Sequence[Trial], wanted: float) -> float:
    """Where the line through two known points meets what is aimed at, kept off the ends of what is left.

    The points are the nearest below and above, or the lowest two while nothing has been fast enough.
    """
    known = sorted([(1.0, 1.0), *((trial.macs_share, trial.time_share.high) for trial in tried)])
    below = [point for point in known if point[1] <= wanted][-1:]
    above = [point for point in known if point[1] > wanted][: 2 - len(below)]
    (near, quick), (far, slow) = sorted([*below, *above])
    margin = 0.15 * (most - least)
    met = near + (far - near) * (AIM * wanted - quick) / (slow - quick) if slow > quick else least
    return min(max(met, least + margin), most - margin)


def best(tried: Sequence[Trial], wanted: float) -> Trial | None:
    """The candidate with the most multiply-adds of those that are fast enough."""
    enough = [trial for trial in tried if trial.time_share.high <= wanted]
    return max(enough, key=lambda trial: trial.macs_share, default=None)
