"""Running files in separate processes, and timing one relative to another in alternating windows."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.core.statistics.quantiles import quantile_estimate
from certify.data.preprocess import Preprocess
from certify.measure import machine, runtimes
from certify.measure.client import Worker
from certify.measure.model_under_test import session_settings
from compress.core import onnx_file

PAIRS = 15
"""Windows per file; the interval of the median then lies between the 4th and the 12th of the ratios."""
WINDOW_S = 0.05
CONFIDENCE = 0.95
METHOD = "median ratio of processor times in turn, each file in a process of its own, one thread"

Timer = Callable[[int], float]
"""Runs a model that many times and returns the processor seconds."""


@dataclass(frozen=True)
class Feeding:
    """How files are fed while they are timed.

    Attributes:
        input_names: input names of the model.
        output_name: requested output.
        samples: (n, ...) in the contract's layout; batches cycle through them.
        batch: samples per inference.
        input_shape: shape of one batch, for runtimes that compile for it.
    """

    input_names: tuple[str, ...]
    output_name: str
    samples: npt.NDArray[Any]
    batch: int = 1
    input_shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, contract: Preprocess, samples: npt.NDArray[Any]) -> Feeding:
        """Feed one sample at a time, as preprocessed by a contract."""
        return cls(tuple(contract.input_names), contract.output_name, samples, 1, contract.port_shape(1))


def time_share(original: Path, candidate: Path, runtime: str, feeding: Feeding) -> Estimate:
    """Measure the candidate's time as a share of the original's in a runtime, on one thread.

    Args:
        original: reference file.
        candidate: another file with the same inputs and outputs.
        runtime: name of an adapter, such as ``openvino``.
        feeding: inputs of both files.

    Returns:
        The median of the ratios of paired windows with its interval; below 1 the candidate is faster.

    Raises:
        ModelError: the runtime cannot load a file.
        MeasureError: a process ended or did not answer.
    """
    with timed(original, runtime, feeding) as first, timed(candidate, runtime, feeding) as second:
        return share(first, second)


def share(original: Timer, candidate: Timer) -> Estimate:
    """Return the ratio of two times, candidate over original; the order alternates.

    Example:
        >>> share(lambda runs: 2.0 * runs, lambda runs: 1.0 * runs).value
        0.5
    """
    timers = (original, candidate)
    runs = []
    for timer in timers:
        timer(1)  # fill caches and lazily allocated buffers
        runs.append(max(1, round(WINDOW_S / max(1e-6, statistics.median(timer(1) for _ in range(3))))))
    spent: tuple[list[float], list[float]] = ([], [])
    for pair in range(PAIRS):
        for which in (0, 1) if pair % 2 else (1, 0):
            spent[which].append(timers[which](runs[which]) / runs[which])
    return median_ratio(spent[1], spent[0], METHOD)


def median_ratio(above: Sequence[float], below: Sequence[float], method: str) -> Estimate:
    """Return the median ratio of the costs of two files in windows that took turns, with its interval.

    Args:
        above: (n,) cost of one file in each window, at least one.
        below: (n,) cost of the other in the windows beside them.
        method: how the costs were measured.

    Example:
        >>> median_ratio([1.0, 2.0, 9.0], [2.0, 4.0, 6.0], "made up").value
        0.5
    """
    # Take ratios of neighbouring windows, because a slow phase of the machine slows both down.
    ratios = [one / max(1e-12, other) for one, other in zip(above, below, strict=True)]
    return replace(quantile_estimate(ratios, 0.5, CONFIDENCE), unit="1", method=method)


@contextlib.contextmanager
def timed(path: Path, runtime: str, feeding: Feeding) -> Iterator[Timer]:
    """Yield a timer of one file, whose process ends with the ``with`` block.

    Raises:
        UsageError: this system cannot measure.
        ModelError: the runtime cannot load the file.
        MeasureError: the process ended or did not answer.
    """
    with running("timed", path, runtime, feeding) as worker:
        yield lambda runs: worker.window(runs, WINDOW_S).cpu_s


@contextlib.contextmanager
def running(name: str, path: Path, runtime: str, feeding: Feeding, threads: int = 1) -> Iterator[Worker]:
    """Yield a separate process that runs a file and ends with the ``with`` block.

    Args:
        name: name of the process, for errors.
        path: the file; its external weights are next to it.
        runtime: name of an adapter.
        feeding: inputs.
        threads: threads of the session.

    Raises:
        UsageError: this system cannot measure.
        ModelError: the runtime cannot load the file.
        MeasureError: the process ended or did not answer.
    """
    machine.require_measuring()
    weights = onnx_file.parts(path)[1:]
    settings = session_settings(
        runtime, threads, feeding.input_names, feeding.output_name, input_shape=feeding.input_shape, weights=weights
    )
    with tempfile.TemporaryDirectory(prefix="leanmark-timing-") as folder:
        inputs = Path(folder, "inputs.npy")
        np.save(inputs, feeding.samples)
        with Worker(name, path, settings) as worker:
            worker.inputs(inputs, feeding.batch)
            yield worker


def usable(runtime: str) -> str | None:
    """Return one sentence saying why a runtime cannot be used and timed here, or None if it can."""
    try:
        machine.require_measuring()
    except UsageError as error:
        return str(error).rstrip(".")
    return runtimes.get(runtime).unavailable()
