"""Times of all files of a model in one runtime, in turn; refused while other processes use the machine."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from certify.core.errors import LeanmarkError
from certify.core.windows import Window
from certify.measure.client import Worker
from certify.measure.host import Host, around
from certify.measure.meters.vcpu_watts import VcpuWatts
from certify.measure.schedule import blocks
from certify.measure.windows import Recorder, Running, warm_up
from peer_bench.job import Job
from peer_bench.making import Artifact
from peer_bench.scores import in_short, runs, settings
from peer_bench.verdicts import Range, foreign_cores, refusal

INPUTS = 16
"""Samples that the windows cycle through."""
PROBE_S = 1.0


@dataclass(frozen=True)
class Plan:
    """How times are taken.

    Attributes:
        blocks: blocks of the schedule; each has two windows of every file.
        window_s: length of a window.
        wait_s: longest wait for a quiet machine before a group is refused.
        seed: seed of the schedule.
    """

    blocks: int = 3
    window_s: float = 0.5
    wait_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Time:
    """Cost of one inference in the windows of a file: wall and processor milliseconds, modelled millijoules."""

    wall_ms: Range
    cpu_ms: Range
    energy_mj: Range
    windows: int


@dataclass(frozen=True)
class Group:
    """Files that took turns.

    Attributes:
        runtime: name of the adapter.
        threads: threads of every session.
        batch: samples per inference.
        times: by name of the file; empty if refused.
        refused: why no times are given, or None.
        failed: files that could not be run, with the reason.
        foreign_cores: most that other processes used in the windows of a file.
    """

    runtime: str
    threads: int
    batch: int
    times: dict[str, Time]
    refused: str | None
    failed: dict[str, str]
    foreign_cores: float | None = None


def order(names: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Return the files in order of their windows: blocks forward and back, or back and forward.

    Example:
        >>> order(["a", "b", "c"], 1)
        ['a', 'b', 'c', 'c', 'b', 'a']
    """
    return [name for block in islice(blocks(names, seed), count) for name in block]


def quiet(wait_s: float, host: Host | None = None) -> str | None:
    """Wait for a quiet machine; return why it never was, or None."""
    reader, end = host or Host(), time.monotonic() + wait_s
    while True:
        before, own_s = reader.snapshot(), time.process_time()
        time.sleep(PROBE_S)
        found = around(before, reader.snapshot(), time.process_time() - own_s, 0.0, 0.0)
        why = refusal([foreign_cores([found["foreign_cpu_share"]], before.processors)])
        if why is None or time.monotonic() >= end:
            return why


def group(job: Job, artifacts: Sequence[Artifact], runtime: str, threads: int, batch: int, plan: Plan) -> Group:
    """Open all files that a runtime reads, each in its own worker, and let them take turns."""
    if (why := quiet(plan.wait_s)) is not None:
        return Group(runtime, threads, batch, {}, why, {})
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        running: dict[str, Running] = {}
        for each in artifacts:
            if not runs(each, runtime):
                continue
            try:
                worker = stack.enter_context(
                    Worker(each.name, each.file, settings(job, each.file, runtime, threads, batch))
                )
                worker.inputs(job.folder / "test.npy", batch, 0, max(INPUTS, batch))
                running[each.name] = warm_up(worker, threads, plan.window_s, plan.window_s)
            except LeanmarkError as error:
                failed[each.name] = in_short(error, each.file)
        recorder = Recorder(VcpuWatts(), Host(), Path(folder, "windows.jsonl"))
        windows: dict[str, list[Window]] = {name: [] for name in running}
        for position, name in enumerate(order(list(running), plan.blocks, plan.seed)):
            waiting = [one for other, one in running.items() if other != name]
            windows[name].append(recorder.record(running[name], waiting, "main", 1, 0, position))
    return summary(runtime, threads, batch, windows, failed, Host().snapshot().processors)


def summary(
    runtime: str, threads: int, batch: int, windows: dict[str, list[Window]], failed: dict[str, str], processors: int
) -> Group:
    """Return the times of finished windows, or the refusal if a file's neighbours were busy."""
    if not windows:
        return Group(runtime, threads, batch, {}, "no file could be run", failed)
    used = [
        foreign_cores([(one.host or {}).get("foreign_cpu_share") for one in own], processors)
        for own in windows.values()
    ]
    most = None if None in used else max(cores for cores in used if cores is not None)
    if (why := refusal(used)) is not None:
        return Group(runtime, threads, batch, {}, why, failed, most)
    return Group(runtime, threads, batch, {name: _time(own) for name, own in windows.items()}, None, failed, most)


def _time(windows: Sequence[Window]) -> Time:
    wall = [1e3 * one.duration_s / one.inferences for one in windows]
    cpu = [1e3 * one.cpu_s / one.inferences for one in windows]
    energy = [1e3 * (one.energy_j or 0.0) / one.inferences for one in windows]
    return Time(Range.of(wall), Range.of(cpu), Range.of(energy), len(windows))
