"""Costs of files: measured in isolated workers, in windows that take turns.

Each file runs in a process of its own, as in a certificate (:mod:`certify.measure.client`). The windows of all files
alternate in rounds, so that a slow phase of the machine affects all of them, and each begins with an inference that is
not counted. A low quantile is the cost of each, since disturbances only add time; the share of one cost in another
follows from pairs of windows (:func:`compress.costs.ratios.share_of`). For a session with one thread, CPU seconds count
as its time: on a quiet machine the two are equal, and the time that a thread waits for its processor is not a property
of the file. Processes are restarted between rounds: memory placement differs from process to process (Mytkowicz et al.
2009).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.progress import Progress, Silent
from certify.core.statistics.quantiles import quantile_estimate
from certify.measure import machine, meters, runtimes
from certify.measure.client import Worker
from certify.measure.meters.base import Meter, Usage
from certify.model_file.suffixes import ONNX
from compress.core.timing import Feeding, running

QUANTILE, CONFIDENCE = 0.1, 0.95
METHOD = "10th percentile of windows that took turns"
STARTS, ROUNDS = 2, 24
"""Processes per file, one after the other, and windows in each."""
WINDOW_S = 0.01
"""Without a counter: a window this short often passes without the scheduler taking the processor away."""
READ_S = 0.05
"""With a counter or sensor, whose steps are of a millisecond or more."""
FIRST_S = 30.0
"""Time limit of the first inference; afterwards the worker's own limit applies."""


@dataclass(frozen=True)
class Conditions:
    """Conditions under which files run.

    Attributes:
        runtime: name as for ``leanmark certify --runtime``.
        threads: threads of a session.
    """

    runtime: str = "onnxruntime-cpu"
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return what costs depend on, for the key of a table.

        Raises:
            UsageError: there is no such runtime, or it cannot be used here.
        """
        adapter = runtimes.require(self.runtime)
        facts = machine.describe()
        meter = meters.choose(adapter.device).meter
        return {
            "runtime": self.runtime,
            "version": adapter.version(),
            "threads": self.threads,
            "processor": facts["processor"],
            "instructions": facts["instructions"],
            "meter": None if meter is None else meter.name,
        }


@dataclass(frozen=True)
class TimedFile:
    """A file to measure.

    Attributes:
        path: ONNX file.
        feeding: its inputs, one sample at a time.
    """

    path: Path
    feeding: Feeding


@dataclass(frozen=True)
class Cost:
    """Cost of one inference.

    Attributes:
        duration_s: wall seconds with several threads, CPU seconds with one.
        energy_j: joules by the best meter here; None without one.
        windows_s: the same seconds in each window, in turn; empty if the cost was computed or read from the cache.
        windows_j: joules in each window.
    """

    duration_s: Estimate
    energy_j: Estimate | None
    windows_s: tuple[float, ...] = ()
    windows_j: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of the estimates."""
        return {
            "duration_s": self.duration_s.to_json(),
            "energy_j": None if self.energy_j is None else self.energy_j.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cost:
        """Read the output of :meth:`to_json`.

        Raises:
            CertificateError: a field is malformed.
        """
        energy = values.get("energy_j")
        duration = Estimate.from_json(values["duration_s"])
        return cls(duration, None if energy is None else Estimate.from_json(energy))


Timer = Callable[[Mapping[str, TimedFile]], Mapping[str, Cost]]
"""Measures files against each other; returns costs by the names of the files."""


def timer(conditions: Conditions, progress: Progress | None = None) -> Timer:
    """Return the function that measures files on this machine.

    Raises:
        UsageError: the runtime cannot be used here.
    """
    machine.require_measuring()
    adapter = runtimes.require(conditions.runtime)
    if adapter.suffix != ONNX:
        raise UsageError(
            f"Costs of blocks are measured on ONNX files, but {conditions.runtime} runs {adapter.suffix} files; use "
            "onnxruntime-cpu."
        )
    meter = meters.choose(adapter.device).meter
    # A modelled meter computes joules from time, so windows long enough for timing suffice.
    reads = meter is not None and meter.level.rank < EvidenceLevel.MODELLED.rank
    window_s = READ_S if reads else WINDOW_S

    def measure(files: Mapping[str, TimedFile]) -> dict[str, Cost]:
        seen: dict[str, list[tuple[float, float | None]]] = {name: [] for name in files}
        with (progress or Silent()).task("Measuring costs", STARTS * ROUNDS) as bar:
            for start in range(STARTS):
                with contextlib.ExitStack() as live:
                    running = {name: _started(name, file, conditions, window_s, live) for name, file in files.items()}
                    for turn in range(ROUNDS):
                        for name in _order(list(files), start * ROUNDS + turn):
                            seen[name].append(_window(*running[name], conditions.threads, meter))
                        bar.advance(1)
        return {name: _cost(windows, meter) for name, windows in seen.items()}

    return measure


def _started(
    name: str, file: TimedFile, conditions: Conditions, window_s: float, live: contextlib.ExitStack
) -> tuple[Worker, int]:
    """Return a warm worker and the number of inferences per window."""
    worker = live.enter_context(running(name, file.path, conditions.runtime, file.feeding, conditions.threads))
    # The first inference plans memory, so its time does not predict later ones.
    worker.window(1, FIRST_S)
    once = worker.window(3, FIRST_S).duration_s / 3
    count = max(1, math.ceil(window_s / max(once, 1e-6)))
    # Warm up caches and clocks at the same rate as the windows that count.
    worker.window(max(1, count // 2), window_s)
    return worker, count


def _order(names: list[str], turn: int) -> list[str]:
    """Return the names forwards and backwards in turn, with a different start each time."""
    shift = (turn // 2) % len(names)
    # Run forwards and backwards, so that drift within a round cancels, and rotate, so that no file is always first.
    turned = names[shift:] + names[:shift]
    return turned[::-1] if turn % 2 else turned


def _window(worker: Worker, count: int, threads: int, meter: Meter | None) -> tuple[float, float | None]:
    """Return the seconds and joules of one inference."""
    # Files that ran before have filled the processor's caches, which would count in a short window.
    worker.window(1, READ_S)
    if meter is not None:
        meter.start()
    result = worker.window(count, READ_S)
    seconds = result.duration_s if threads > 1 else min(result.duration_s, result.cpu_s)
    joules = None if meter is None else meter.stop(Usage(seconds, result.cpu_s)).energy_j / count
    return seconds / count, joules


def _cost(windows: list[tuple[float, float | None]], meter: Meter | None) -> Cost:
    seconds = tuple(wall for wall, _ in windows)
    duration = replace(quantile_estimate(seconds, QUANTILE, CONFIDENCE), method=METHOD)
    joules = tuple(energy for _, energy in windows if energy is not None)
    if meter is None or not joules:
        return Cost(duration, None, seconds)
    energy = quantile_estimate(joules, QUANTILE, CONFIDENCE)
    level = EvidenceLevel(meter.level)
    return Cost(duration, replace(energy, unit="J", method=METHOD, evidence=level), seconds, joules)
