"""The fastest form of the baseline for its runtime, so that savings without compression do not count.

Rewrites that make a model faster without changing its outputs are available to the baseline, too. So the referee
rewrites the baseline's operators (:mod:`certify.model_file.onnx_graph.slow_kernels`), and keeps the result if it takes
less time on this machine: a baseline that is slower than necessary would flatter every candidate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import onnx

from certify.measure import runtimes
from certify.measure.client import Worker
from certify.measure.plan import Plan
from certify.measure.windows import warm_up
from certify.model_file.onnx_graph.slow_kernels import FORMS

RUNTIME = "onnxruntime-cpu"
"""The runtime whose slow kernels are avoided."""
WINDOW_S = 0.2
"""Target length of a window in seconds; at least one inference."""
ROUNDS = 7
"""Number of rounds; in each, both forms run a window and alternate in running first."""
FASTER_IN = 6
"""Number of rounds that a form must win to be kept; by chance alone this happens in one of 16 cases."""

Opened = Callable[[onnx.ModelProto], Worker]
SaysTheSame = Callable[[onnx.ModelProto], bool]


def applies_to(plan: Plan) -> bool:
    """Return whether ONNX Runtime on the processor will, or under ``auto`` without a GPU may, run the baseline."""
    if plan.runtime != runtimes.AUTO:
        return runtimes.RUNTIMES.place(plan.runtime) == runtimes.RUNTIMES.place(RUNTIME)
    among = plan.among or runtimes.RUNTIMES.own
    usable = [runtime for runtime in map(runtimes.get, among) if runtime.unavailable() is None]
    return RUNTIME in among and all(runtime.device == "cpu" for runtime in usable)


def faster_form(
    forms: Sequence[onnx.ModelProto], opened: Opened, says_the_same: SaysTheSame
) -> tuple[onnx.ModelProto, list[str]] | None:
    """Rewrite a model in the ways that take less time, if there are any.

    Args:
        forms: the model, and equivalent forms of it; the first of those with the most possible rewrites is used. They
            are not modified.
        opened: function that starts a single-threaded worker on a model, with its inputs set.
        says_the_same: function that returns whether a model gives the same outputs.

    Returns:
        The rewritten model and the rewrites as sentences; None if the model stays unchanged.

    Raises:
        ModelError: a form cannot be loaded or run.
        MeasureError: a worker failed.
    """
    best, notes = forms[0], list[str]()
    for what, write in FORMS.items():
        # The first rewrite may start from any form; later ones must start from its result, so that they add up.
        tried = [_rewritten(form, write) for form in (forms if not notes else [best])]
        rewritten, count = max(tried, key=lambda candidate: candidate[1])
        if not count or not says_the_same(rewritten):
            continue
        # Both are loaded and take turns, so that drift of the machine cancels.
        with opened(best) as original, opened(rewritten) as variant:
            before_s, after_s = _in_turn(original, variant)
        if sum(after < before for before, after in zip(before_s, after_s, strict=True)) < FASTER_IN:
            continue
        middle = [f"{1e3 * statistics.median(taken):.3g}" for taken in (after_s, before_s)]
        notes.append(f"{count} {what} ({' of '.join(middle)} ms of one thread)")
        best = rewritten
    return (best, notes) if notes else None


def _rewritten(form: onnx.ModelProto, write: Callable[[onnx.ModelProto], int]) -> tuple[onnx.ModelProto, int]:
    copied = onnx.ModelProto()
    copied.CopyFrom(form)
    return copied, write(copied)


def _in_turn(original: Worker, rewritten: Worker) -> tuple[list[float], list[float]]:
    """Return the CPU seconds per inference of each form, by round."""
    pair = [warm_up(worker, 1, WINDOW_S, WINDOW_S) for worker in (original, rewritten)]
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for arm in (0, 1) if number % 2 == 0 else (1, 0):
            running = pair[arm]
            window = running.worker.window(running.inferences, running.inferences * running.inference_s)
            # CPU time of one thread: neighbours on the machine slow the clock on the wall far more.
            taken[arm].append(window.cpu_s / running.inferences)
    return taken
