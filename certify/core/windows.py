"""Windows, the unit of replication, and the runs and blocks that consist of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

LARGEST = 1e30
"""Upper limit on seconds and joules: no measurement exceeds it, and squares beyond it would overflow."""


@dataclass(frozen=True)
class Window:
    """A window: k inferences without interruption, the unit of replication.

    Attributes:
        run: ``settings``, ``null``, ``runtime``, ``main`` or ``yardstick``.
        attempt: 0, or 1 for the one retry of a null run.
        block: number of the block within its run and attempt, from 0.
        position: position within the block, from 0.
        arm: name of the model that ran.
        threads: intra-op threads of its session.
        inferences: number k; each inference has ``workload.batch`` samples.
        start_s: seconds since the start of the measurement, monotonic clock.
        duration_s: wall time of the k inferences.
        cpu_s: CPU time of the worker process in the window.
        energy_j: gross joules by the meter, null if there is none.
        reading: the meter's raw values before and after, by name.
        host: values of the machine around the window, by name: ``steal_share``, ``throttled_s``, ``foreign_cpu_share``,
            ``idle_workers_cpu_s``, ``temperature_c``, ``thermal_throttles``; null if not readable.
    """

    run: str
    attempt: int
    block: int
    position: int
    arm: str
    threads: int
    inferences: int
    start_s: float
    duration_s: float
    cpu_s: float
    energy_j: float | None
    reading: Mapping[str, float] = field(default_factory=dict)
    host: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """The windows of one block, by position in time."""

    number: int
    windows: tuple[Window, ...]

    def is_complete(self, arms: int) -> bool:
        """Return whether each of ``arms`` arms ran twice, the second time in reverse order: AA, ABBA, ABCCBA."""
        names = [window.arm for window in self.windows]
        positions = [window.position for window in self.windows]
        return positions == list(range(2 * arms)) and names == names[::-1] and len(set(names)) == arms

    def of(self, arm: str) -> list[Window]:
        """Return the windows of one arm."""
        return [window for window in self.windows if window.arm == arm]


@dataclass(frozen=True)
class Run:
    """The windows of one run, grouped once.

    Attributes:
        windows: windows in the order of recording.
        models: number of arms that take turns in its blocks.
    """

    windows: tuple[Window, ...]
    models: int = 2

    @property
    def attempts(self) -> int:
        """Number of attempts."""
        return 1 + max((window.attempt for window in self.windows), default=-1)

    @functools.cached_property
    def last(self) -> Run:
        """The last attempt alone."""
        last = self.attempts - 1
        windows = tuple(window for window in self.windows if window.attempt == last)
        return self if len(windows) == len(self.windows) else Run(windows, self.models)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks, in the order of their numbers."""
        by_number: dict[int, list[Window]] = {}
        for window in self.windows:
            by_number.setdefault(window.block, []).append(window)
        return tuple(
            Block(number, tuple(sorted(by_number[number], key=lambda window: window.position)))
            for number in sorted(by_number)
        )

    @functools.cached_property
    def complete(self) -> tuple[Block, ...]:
        """Complete blocks."""
        return tuple(block for block in self.blocks if block.is_complete(self.models))

    @functools.cached_property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the order of their first windows."""
        return tuple(dict.fromkeys(window.arm for window in self.windows))

    @property
    def duration_s(self) -> float:
        """Total wall time of all windows, without the time between them."""
        return sum(window.duration_s for window in self.windows)

    def of(self, arm: str) -> list[Window]:
        """Return the windows of one arm."""
        return [window for window in self.windows if window.arm == arm]
