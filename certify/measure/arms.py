"""The arms of a run and their workers, which are restarted every few blocks.

Two processes of one model may differ by a few percent for their whole lifetime, because of their memory layout
(Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously wrong!"). With a single pair of processes
this would be a bias that no number of windows reveals. So each arm gets a new process every few blocks: the layout then
varies from block to block, and the interval over the blocks covers it. A run thus repeats at the level that varies
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
    """A model with the settings of a run.

    Attributes:
        name: name under which its windows are recorded.
        model: model that its workers run.
        runtime: name of the runtime.
        threads: intra-op threads.
        batch: number of samples per inference.
        inference_s: approximate time of one inference in seconds.
        inferences: number of inferences k per window, the same in every run.
        start_s: approximate time to start and warm up a worker in seconds.
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
        """Start and warm up a worker that ends with ``live``; ``turn`` counts the workers of a run."""
        opened = open_worker(self.model, self.runtime, self.threads, self.batch, self.name, turn=turn)
        worker = live.enter_context(opened)
        # At least one inference, because half a window of one slow inference rounds to zero.
        warming = max(1, math.ceil(self.inferences * WARM_UP_SHARE))
        worker.window(warming, warming * self.inference_s)
        return Running(worker, self.threads, self.inference_s, self.inferences)


def blocks_a_start(
    start_s: float, block_s: float, least_blocks: int, time_limit_s: float, rules: MeasuringRules
) -> int:
    """Return the number of blocks for which workers live, fixed before a run.

    Assuming that processes and blocks vary equally, sqrt(start_s / block_s) blocks per process give the narrowest
    interval for the time spent (Kalibera and Jones 2013; Cochran 1977, "Sampling Techniques", chapter 10). Blocks of
    the same processes are correlated, so a process must not outlive a batch of the batch means, unless starting
    processes that often would use up the time limit.

    Args:
        start_s: seconds to start and warm up the workers of all arms in parallel.
        block_s: seconds of one block's windows.
        least_blocks: least number of blocks of the run.
        time_limit_s: time limit of the run in seconds.
        rules: rules with the length of a batch.
    """
    batch = max(1, math.floor(rules.batch_factor * math.sqrt(least_blocks)))
    # Rounded to whole blocks: a process that ends within a block would mix two layouts in one log-ratio.
    best = min(max(1, round(math.sqrt(start_s / block_s))), batch)
    # The second term keeps all starts together within the time limit; a run has at least one start in any case.
    return min(least_blocks, max(best, math.ceil(least_blocks * start_s / time_limit_s)))


class Workers:
    """The live workers of a run, one per arm. Use it in a ``with`` block, which ends them.

    Args:
        arms: arms whose windows take turns.
        blocks: number of blocks for which workers live.

    Attributes:
        arms: as given.
        pids: process ids by arm, in the order of their start.
        sessions: actual session settings by arm, equal for all of an arm's sessions.
        surroundings: surroundings by arm, likewise; with the union of the loaded libraries.
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
        """Return warm workers for a block, in the order of the arms; new workers are started at the same time.

        Args:
            number: number of the block, counted from 0.

        Raises:
            MeasureError: a worker failed, or its session differs from the previous one.
        """
        if number % self.blocks == 0:
            # The old workers end before new ones start, as two sessions per arm could exhaust the memory.
            self._live.close()
            turn = number // self.blocks
            # Started together: neither arm finds a warmer machine, and it takes half the time.
            with ThreadPoolExecutor(len(self.arms)) as starting:
                self._running = tuple(starting.map(lambda arm: arm.start(self._live, turn), self.arms))
            for running in self._running:
                self._note(running)
        return self._running

    def _note(self, running: Running) -> None:
        worker = running.worker
        self.pids[worker.arm].append(worker.pid)
        # Checked at every restart, because a thread that was not pinned this time would look like noise of the model.
        facts = session_facts(worker)
        # An error and not a note: windows of two different settings would be averaged as if they were one model's.
        if self.sessions.setdefault(worker.arm, facts) != facts:
            raise MeasureError(
                f"Two sessions of the {worker.arm} ({worker.model}) were set up differently "
                f"({self.sessions[worker.arm]} and {facts}), so their windows cannot be compared; measure again."
            )
        known = self.surroundings.setdefault(worker.arm, worker.surroundings)
        self.surroundings[worker.arm] = libraries.joined(known, worker.surroundings, worker.arm)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
