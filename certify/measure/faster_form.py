"""The baseline in the form that its runtime runs fastest, so that no saving is counted that needs no compression.

What makes a file faster and leaves its answers alone is open to the baseline too. So the referee writes the baseline's
operators the same way (:mod:`certify.model_file.onnx_graph.slow_kernels`), and keeps that where it takes less time on
this machine: a form that is slower here would flatter every candidate.
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
"""The runtime whose kernels are kept off."""
WINDOW_S = 0.2
"""About how long a window lasts; one inference where that takes longer."""
ROUNDS = 7
"""In each of which both forms run a window, in turn first."""
FASTER_IN = 6
"""Rounds of these in which a form must take less time to be kept: chance alone has it so in one of 16."""

Opened = Callable[[onnx.ModelProto], Worker]
SaysTheSame = Callable[[onnx.ModelProto], bool]


def applies_to(plan: Plan) -> bool:
    """Whether the baseline will be run by ONNX Runtime on the processor, or may be and no GPU can take its place."""
    if plan.runtime != runtimes.AUTO:
        return runtimes.RUNTIMES.place(plan.runtime) == runtimes.RUNTIMES.place(RUNTIME)
    among = plan.among or runtimes.RUNTIMES.own
    usable = [runtime for runtime in map(runtimes.get, among) if runtime.unavailable() is None]
    return RUNTIME in among and all(runtime.device == "cpu" for runtime in usable)


def faster_form(
    forms: Sequence[onnx.ModelProto], opened: Opened, says_the_same: SaysTheSame
) -> tuple[onnx.ModelProto, list[str]] | None:
    """Write a model the ways that take less time, where there are such ways.

    Args:
        forms: the model as it is, and others that compute the same; the first of those in which most can be rewritten
            is. They are left as they are.
        opened: starts a worker on a model, with its inputs set; one thread.
        says_the_same: whether a model gives the same answers.

    Returns:
        The rewritten model and what was written otherwise, in sentences; None where it stays as it is.

    Raises:
        ModelError: a form can't be loaded or run.
        MeasureError: a worker failed.
    """
    kept, told = forms[0], list[str]()
    for what, write in FORMS.items():
        tried = [_rewritten(form, write) for form in (forms if not told else [kept])]
        rewritten, count = max(tried, key=lambda one: one[1])
        if not count or not says_the_same(rewritten):
            continue
        with opened(kept) as given, opened(rewritten) as other:
            before_s, after_s = _in_turn(given, other)
        if sum(after < before for before, after in zip(before_s, after_s, strict=True)) < FASTER_IN:
            continue
        middle = [f"{1e3 * statistics.median(taken):.3g}" for taken in (after_s, before_s)]
        told.append(f"{count} {what} ({' of '.join(middle)} ms of one thread)")
        kept = rewritten
    return (kept, told) if told else None


def _rewritten(form: onnx.ModelProto, write: Callable[[onnx.ModelProto], int]) -> tuple[onnx.ModelProto, int]:
    copied = onnx.ModelProto()
    copied.CopyFrom(form)
    return copied, write(copied)


def _in_turn(given: Worker, rewritten: Worker) -> tuple[list[float], list[float]]:
    """CPU seconds of an inference of each, round by round."""
    pair = [warm_up(worker, 1, WINDOW_S, WINDOW_S) for worker in (given, rewritten)]
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for arm in (0, 1) if number % 2 == 0 else (1, 0):
            one = pair[arm]
            window = one.worker.window(one.inferences, one.inferences * one.inference_s)
            taken[arm].append(window.cpu_s / one.inferences)
    return taken
