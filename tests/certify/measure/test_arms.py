from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.assessments.efficiency.edition import Edition, load_edition
from certify.core.errors import MeasureError
from certify.core.progress import Silent
from certify.core.statistics.batch_means import batch_rule, half_widths
from certify.core.surroundings import WorkerSurroundings
from certify.measure.arms import Arm, Workers, blocks_a_start
from certify.measure.host import Host
from certify.measure.plan import Plan
from certify.measure.runs import Bench
from certify.measure.windows import Recorder, Running

EDITION = load_edition()
SECONDS = st.floats(1e-3, 1e4)


@given(start_s=SECONDS, block_s=SECONDS, least=st.integers(2, 50), limit_s=SECONDS)
def test_workers_live_for_at_least_one_block_and_at_most_the_run(
    start_s: float, block_s: float, least: int, limit_s: float
) -> None:
    blocks = blocks_a_start(start_s, block_s, least, limit_s, EDITION.plan)
    assert 1 <= blocks <= least
    assert blocks_a_start(2 * start_s, block_s, least, limit_s, EDITION.plan) >= blocks


@given(start_s=SECONDS, block_s=SECONDS, least=st.integers(2, 50))
def test_blocks_of_one_process_fill_no_more_than_a_batch_when_there_is_time(
    start_s: float, block_s: float, least: int
) -> None:
    blocks = blocks_a_start(start_s, block_s, least, 1e9, EDITION.plan)
    rule = batch_rule(least, EDITION.plan.batch_factor, EDITION.plan.assumed_autocorrelation)
    assert blocks <= max(rule.sizes)


@pytest.mark.parametrize(
    ("start_s", "limit_s", "blocks"),
    [(0.5, 90.0, 1), (2.6, 90.0, 1), (12.0, 200.0, 2), (60.0, 90.0, 7), (600.0, 90.0, 10)],
)
def test_workers_live_longer_when_starting_them_takes_longer(
    edition: Edition, start_s: float, limit_s: float, blocks: int
) -> None:
    assert blocks_a_start(start_s, 4.2, 10, limit_s, edition.plan) == blocks


@pytest.mark.parametrize("start_s", [0.9, 5.0, 11.0, 25.0, 55.0])
def test_lifetime_of_workers_minimises_the_interval_for_the_time(start_s: float) -> None:
    """Cochran 1977, chapter 10: variance (1 + 1 / r) / processes, with as many processes as the time has room for."""
    block_s = 1.0

    def variance(blocks: int) -> float:
        return (1 + 1 / blocks) * (start_s + blocks * block_s)

    best = min(range(1, 40), key=variance)
    assert blocks_a_start(start_s, block_s, 2500, 1e9, EDITION.plan) == best


@pytest.mark.parametrize(("window_s", "start_s", "blocks"), [(0.05, 0.2, 40), (1.0, 0.8, 15), (5.0, 2.0, 10)])
def test_null_run_has_as_many_blocks_as_fit_its_time(
    edition: Edition, tmp_path: Path, window_s: float, start_s: float, blocks: int
) -> None:
    recorder = Recorder(None, Host(), tmp_path / "windows.jsonl")
    bench = Bench(Plan(), edition.plan, recorder, Silent(), tmp_path, None)
    arm = Arm("baseline", None, "onnxruntime-cpu", 1, 1, window_s / 10, 10, start_s)  # type: ignore[arg-type]
    assert bench.null_blocks(arm, 1) == blocks
    short = replace(bench, plan=Plan(time_limit_s=edition.plan.null_time_s / 4))
    assert edition.plan.null_blocks <= short.null_blocks(arm, 1) < max(blocks, edition.plan.null_blocks + 1)
    half = replace(bench, plan=Plan(time_limit_s=edition.plan.null_time_s / 2))
    assert short.null_blocks(arm, 1, attempt=1) == half.null_blocks(arm, 1)
    assert half.null_blocks(arm, 1, attempt=1) == bench.null_blocks(arm, 1, attempt=1) == blocks
    few = replace(bench, plan=Plan(min_blocks=3))
    assert few.null_blocks(arm, 1) == few.null_blocks(arm, 1, attempt=1) == 3


def test_two_workers_take_as_long_to_start_as_the_slower_one(edition: Edition, tmp_path: Path) -> None:
    bench = Bench(Plan(), edition.plan, Recorder(None, Host(), tmp_path / "w"), Silent(), tmp_path, None)
    slow, quick = (Arm("a", None, "onnxruntime-cpu", 1, 1, 0.01, 10, start_s) for start_s in (0.8, 0.5))  # type: ignore[arg-type]
    assert bench.blocks_a_start((slow, quick)) == bench.blocks_a_start((quick, slow)) == 1  # sqrt(0.8 / 0.4); 2 of 1.3
    assert bench.blocks_a_start((slow, replace(slow, start_s=0.95))) == 2


def _coverage(blocks: int, alive: int, spread: float) -> float:
    """Share of null runs whose interval includes no difference, if processes differ as much as ``spread`` blocks do."""
    rng = np.random.default_rng(0)
    starts = -(-blocks // alive)
    luck = np.repeat(rng.normal(0, spread, (4000, starts)), alive, axis=1)[:, :blocks]
    logs = luck + rng.normal(0, 1, (4000, blocks))
    return float(np.mean(np.abs(logs.mean(axis=1)) <= half_widths(logs, EDITION.plan)))


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(
    "blocks", [EDITION.plan.minimum_blocks, EDITION.plan.null_blocks, EDITION.plan.largest_null_blocks]
)
def test_interval_includes_variation_between_processes(blocks: int, spread: float) -> None:
    longest = blocks_a_start(1e6, 1.0, EDITION.plan.minimum_blocks, 1e12, EDITION.plan)
    assert longest == 2
    assert _coverage(blocks, 1, spread) >= 0.93
    assert _coverage(blocks, longest, spread) >= 0.93


def test_interval_misses_variation_when_processes_live_for_the_whole_run() -> None:
    most = EDITION.plan.largest_null_blocks
    assert _coverage(most, most, 1.0) < 0.7


CLEAN = WorkerSurroundings(True, [], [], {})


class _Arm:
    """An arm whose workers are only counted."""

    pids = itertools.count(100)

    def __init__(self, name: str, started: list[str], ended: list[int], **facts: Any) -> None:
        self.name = name
        self._started, self._ended = started, ended
        self.facts: defaultdict[str, Any] = defaultdict(int, facts)

    def start(self, live: contextlib.ExitStack, turn: int = 0) -> Running:
        worker = SimpleNamespace(
            arm=self.name, pid=next(self.pids), facts=dict(self.facts), model="m.onnx", surroundings=CLEAN
        )
        worker.facts = defaultdict(int, self.facts)
        self._started.append(self.name)
        live.callback(self._ended.append, worker.pid)
        return Running(worker, 1, 0.1, 10)  # type: ignore[arg-type]


def test_workers_are_restarted_when_their_blocks_are_done() -> None:
    started: list[str] = []
    ended: list[int] = []
    with Workers([_Arm("a", started, ended), _Arm("b", started, ended)], 2) as workers:  # type: ignore[list-item]
        pids = [tuple(one.worker.pid for one in workers.for_block(number)) for number in range(5)]
        assert len(ended) == 4  # the old ones are gone before new ones start
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert workers.pids == {"a": [pids[0][0], pids[2][0], pids[4][0]], "b": [pids[0][1], pids[2][1], pids[4][1]]}
    assert sorted(ended) == sorted(itertools.chain(*workers.pids.values()))


def test_workers_of_all_arms_start_side_by_side() -> None:
    both = threading.Barrier(2)  # breaks unless two wait at the same time

    class Meeting(_Arm):
        def start(self, live: contextlib.ExitStack, turn: int = 0) -> Running:
            both.wait(timeout=5)
            return super().start(live, turn)

    with Workers([Meeting("a", [], []), Meeting("b", [], [])], 1) as workers:  # type: ignore[list-item]
        assert [one.worker.arm for one in workers.for_block(0)] == ["a", "b"]


def test_no_worker_is_left_when_one_of_them_does_not_start() -> None:
    started: list[str] = []
    ended: list[int] = []

    class Broken(_Arm):
        def start(self, live: contextlib.ExitStack, turn: int = 0) -> Running:
            while not started:
                time.sleep(0.001)
            raise MeasureError("It does not start.")

    with pytest.raises(MeasureError, match="does not start"):  # noqa: SIM117
        with Workers([Broken("a", [], []), _Arm("b", started, ended)], 1) as workers:  # type: ignore[list-item]
            workers.for_block(0)
    assert len(ended) == 1


def test_run_stops_when_a_later_session_is_set_up_differently() -> None:
    arm = _Arm("a", [], [], threads=2)
    with Workers([arm], 1) as workers:  # type: ignore[list-item]
        workers.for_block(0)
        arm.facts["threads"] = 1
        with pytest.raises(MeasureError, match="set up differently"):
            workers.for_block(1)
