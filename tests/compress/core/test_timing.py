"""Times of two files in turn: their ratio, from processes of their own."""

from __future__ import annotations

import contextlib

import pytest

from certify.core.errors import UsageError
from certify.measure import machine
from certify.measure.client import WindowResult
from compress.core.timing import Feeding, share, time_share, usable
from compress.costs import timing as costs_timing
from compress.costs.timing import ROUNDS, STARTS, Conditions, TimedFile, timer


def test_share_is_the_ratio_when_times_are_steady():
    found = share(lambda runs: 3e-3 * runs, lambda runs: 1e-3 * runs)
    assert found.value == found.low == found.high == pytest.approx(1 / 3)


def test_share_is_within_the_pairs_when_the_machine_drifts():
    """Both windows of a pair see nearly the same machine, so that a slow drift cancels."""
    now = [1.0]

    def timer(factor: float):
        def run(runs: int) -> float:
            now[0] *= 1.01
            return factor * runs * now[0]

        return run

    assert share(timer(2.0), timer(1.0)).value == pytest.approx(0.5, rel=0.02)


def test_share_is_one_when_a_file_is_timed_against_itself(onnx_file, context):
    found = time_share(onnx_file, onnx_file, "onnxruntime-cpu", Feeding.of(context.preprocess, context.samples(4)))
    assert 0.3 < found.value < 3
    assert found.low <= found.value <= found.high


class EvictedWorker:
    """A worker whose first inference takes 2 ms longer whenever another worker had its turn before."""

    last: EvictedWorker | None = None

    def window(self, count: int, _: float) -> WindowResult:
        cold, EvictedWorker.last = EvictedWorker.last is not self, self
        seconds = 1e-3 * count + 2e-3 * cold
        return WindowResult(seconds, seconds, True)


def test_costs_are_those_of_warm_caches_when_files_take_turns(monkeypatch, onnx_file, context):
    monkeypatch.setattr(costs_timing, "running", lambda *_: contextlib.nullcontext(EvictedWorker()))
    file = TimedFile(onnx_file, Feeding.of(context.preprocess, context.samples(4)))
    costs = timer(Conditions())({str(number): file for number in range(16)})
    assert [cost.duration_s.value for cost in costs.values()] == pytest.approx([1e-3] * 16)
    windows = [pytest.approx([1e-3] * STARTS * ROUNDS)] * 16
    assert [cost.windows_s for cost in costs.values()] == windows


def test_joules_are_those_of_every_window(monkeypatch, onnx_file, context):
    monkeypatch.setattr(costs_timing, "running", lambda *_: contextlib.nullcontext(EvictedWorker()))
    cost = timer(Conditions())({"file": TimedFile(onnx_file, Feeding.of(context.preprocess, context.samples(4)))})[
        "file"
    ]
    assert cost.energy_j.value == pytest.approx(min(cost.windows_j)) == pytest.approx(max(cost.windows_j))
    assert len(cost.windows_j) == STARTS * ROUNDS


class Windows:
    """The module os of a system that cannot measure."""

    name = "nt"


def test_nothing_is_timed_when_the_system_cannot_measure(monkeypatch, onnx_file, context):
    assert usable("onnxruntime-cpu") is None
    monkeypatch.setattr(machine, "os", Windows)
    assert usable("onnxruntime-cpu").endswith("or on another machine")
    feeding = Feeding.of(context.preprocess, context.samples(4))
    for times in (lambda: timer(Conditions()), lambda: time_share(onnx_file, onnx_file, "onnxruntime-cpu", feeding)):
        with pytest.raises(UsageError, match="Measuring requires Linux or macOS .* compress with --no-measure"):
            times()
