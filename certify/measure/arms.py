"""The arms of a run and their workers, which are restarted every few blocks.

Two processes of one model may differ by some percent for as long as they live, by where their memory happened to be
placed (Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously wrong!"). Measured in one pair of
processes, that luck would be a bias which no number of windows shows. So each arm gets a new process every few blocks:
luck then differs from block to block, and the interval over the blocks holds it. A run repeats at the level that varies
(Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time").
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from certify.core.errors import MeasureError
from certify.core.measuring_rules import MeasuringRules
from certify.core.run_observations import SessionFacts
from certify.core.surroundings import WorkerSurroundings
from certify.measure import libraries
from certify.measure.model_under_test import Subject, open_worker, session_facts
from certify.measure.windows import WARM_UP_SHARE, Running


@dataclass(frozen=True)
class Arm:
    """A model at the settings at which a run measures it.

    Attributes:
        name: under which its windows are kept.
        model: what its workers run.
        runtime: adapter.
        threads: intra-op threads.
        batch: samples in one inference.
        inference_s: about how long one inference takes.
        inferences: k of its windows, the same in every run.
        start_s: about how long it takes to start a worker and to warm it up.
    """

    name: str
    model: Subject
    runtime: str
    threads: int
    batch: int
    inference_s: float
    inferences: int
    start_s: float

    def start(self, live: contextlib.ExitStack, turn: int = 0) -> Running:
        """Start a worker that ends with ``live``, and warm it up; ``turn`` counts the workers of a run."""
        opened = open_worker(self.model, self.runtime, self.threads, self.batch, self.name, turn=turn)
        worker = live.enter_context(opened)
        warming = max(1, math.ceil(self.inferences * WARM_UP_SHARE))
        worker.window(warming, warming * self.inference_s)
        return Running(worker, self.threads, self.inference_s, self.inferences)


def blocks_a_start(
    start_s: float, block_s: float, least_blocks: int, time_limit_s: float, rules: MeasuringRules
) -> int:
    """For how many blocks workers live, fixed before a run.

    Processes and blocks are taken to vary alike, so that sqrt(start_s / block_s) blocks a process give the narrowest
    interval for the time spent (Kalibera and Jones 2013; Cochran 1977, "Sampling Techniques", chapter 10).
    Blocks of the same processes are alike, so that they must not be more than a batch of the batch means; only where
    starting so often would fill the time limit by itself they live longer.

    Args:
        start_s: to start and warm up the workers of all arms, side by side.
        block_s: of one block's windows.
        least_blocks: of the run.
        time_limit_s: of the run.
        rules: gives the length of a batch.
    """
    batch = max(1, math.floor(rules.batch_factor * math.sqrt(least_blocks)))
    best = min(max(1, round(math.sqrt(start_s / block_s))), batch)
    return min(least_blocks, max(best, math.ceil(least_blocks * start_s / time_limit_s)))


class Workers:
    """The live workers of a run, one for each arm. Use it in a ``with`` block, which ends them.

    Args:
        arms: whose windows take turns.
        blocks: for how many blocks workers live.

    Attributes:
        arms: as given.
        pids: process ids by arm, in the order in which they were started.
        sessions: what the sessions of each arm were set up with, the same for all of them.
        surroundings: in which they ran, likewise; of libraries, all that one of them had loaded.
    """

    def __init__(self, arms: Sequence[Arm], blocks: int) -> None:
        self.arms = tuple(arms)
        self.blocks = blocks
        self.pids: dict[str, list[int]] = {arm.name: [] for arm in arms}
        self.sessions: dict[str, SessionFacts] = {}
        self.surroundings: dict[str, WorkerSurroundings] = {}
        self._live = contextlib.ExitStack()
        self._running: tuple[Running, ...] = ()

    def for_block(self, number: int) -> tuple[Running, ...]:
        """Warm workers for a block, in the order of the arms; new ones are all started at the same time.

        Args:
            number: of the block, from 0.

        Raises:
            MeasureError: a worker failed, or its session was set up otherwise than the one before.
        """
        if number % self.blocks == 0:
            self._live.close()
            turn = number // self.blocks
            with ThreadPoolExecutor(len(self.arms)) as starting:
                self._running = tuple(starting.map(lambda arm: arm.start(self._live, turn), self.arms))
            for running in self._running:
                self._note(running)
        return self._running

    def _note(self, running: Running) -> None:
        worker = running.worker
        self.pids[worker.arm].append(worker.pid)
        facts = session_facts(worker)
        if self.sessions.setdefault(worker.arm, facts) != facts:
            raise MeasureError(
                f"Two sessions of the {worker.arm} ({worker.model}) were set up differently "
                f"({self.sessions[worker.arm]} and {facts}); their windows can't be compared."
            )
        known = self.surroundings.setdefault(worker.arm, worker.surroundings)
        self.surroundings[worker.arm] = libraries.joined(known, worker.surroundings, worker.arm)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
