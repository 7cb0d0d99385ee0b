"""Counters of the machine around a window.

Read from /proc and /sys (proc(5); kernel documentation "cgroup-v2", "thermal/sysfs-api", "hwmon/sysfs-interface"). A
value that cannot be read is None, never 0. /proc/stat counts ticks of 10 ms, so the resolution of shares is half a
percent for a window of one second on two cores; the mean over many windows is finer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

STEAL_FIELD = 7
IDLE_FIELDS = (3, 4)
COUNTED_FIELDS = 8
"""Number of fields used: user, nice, system, idle, iowait, irq, softirq, steal; guest time is part of user."""
CORE_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
PROCESS_CLOCK = 2
"""The kernel's CPUCLOCK_SCHED: CPU time of all threads of another process, in nanoseconds."""


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment; None if not readable.

    Attributes:
        time_s: time of the monotonic clock.
        steal_s: total time that the hypervisor took from all processors.
        busy_s: total busy time of all processors.
        total_s: steal, busy and idle time.
        processors: number of processors.
        throttled_s: time for which the CPU quota throttled this control group.
        throttles: thermal throttling events of all cores and packages.
        temperature_c: temperature of the hottest part of the processor in degrees Celsius.
    """

    time_s: float
    steal_s: float | None
    busy_s: float | None
    total_s: float | None
    processors: int
    throttled_s: float | None
    throttles: int | None
    temperature_c: float | None


class Host:
    """Reader of the machine's counters.

    Args:
        root: root of the file system, for a fake tree.
        ticks_per_s: ticks per second of /proc/stat.
    """

    def __init__(self, root: Path = Path("/"), ticks_per_s: int | None = None) -> None:
        self._root = root
        self._tick_s = 1.0 / (ticks_per_s or (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100))
        self._throttle_file = _cpu_stat(root)
        cpus = root / "sys/devices/system/cpu"
        # Cores and packages count separately; which files exist depends on the processor's vendor.
        self._throttle_counts = tuple(sorted(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")))
        self._temperatures = _temperature_files(root)

    def snapshot(self) -> Snapshot:
        """Read all counters once."""
        steal, busy, total, processors = self._processor_times()
        return Snapshot(
            time_s=time.monotonic(),
            steal_s=steal,
            busy_s=busy,
            total_s=total,
            processors=processors,
            throttled_s=self._throttled_s(),
            throttles=_total(self._throttle_counts),
            temperature_c=self._temperature_c(),
        )

    def _processor_times(self) -> tuple[float | None, float | None, float | None, int]:
        text = _text(self._root / "proc/stat")
        # The first line is the sum over all processors; each of the others is one processor.
        lines = [line.split() for line in text.splitlines() if line.startswith("cpu")]
        if not lines or len(lines[0]) <= COUNTED_FIELDS:
            return None, None, None, 0
        ticks = [int(field) for field in lines[0][1 : COUNTED_FIELDS + 1]]
        # iowait is idle time with a pending read; counting it as busy would blame a neighbour for our own disk.
        total, idle = sum(ticks), sum(ticks[field] for field in IDLE_FIELDS)
        steal = ticks[STEAL_FIELD]
        return steal * self._tick_s, (total - idle - steal) * self._tick_s, total * self._tick_s, len(lines) - 1

    def _throttled_s(self) -> float | None:
        if self._throttle_file is None:
            return None
        fields = dict(line.split() for line in _text(self._throttle_file).splitlines())
        # cgroup v2 counts microseconds; version 1 counts nanoseconds under another name.
        if "throttled_usec" in fields:
            return int(fields["throttled_usec"]) * 1e-6
        return int(fields["throttled_time"]) * 1e-9 if "throttled_time" in fields else None

    def _temperature_c(self) -> float | None:
        read = [_text(path) for path in self._temperatures]
        values = [int(text) / 1000 for text in read if text]
        return max(values, default=None)


def around(
    before: Snapshot, after: Snapshot, own_cpu_s: float, worker_cpu_s: float | None, idle_cpu_s: float | None
) -> dict[str, float | None]:
    """Return the differences between two snapshots, named as in :class:`certify.core.evidence.Window`.

    Args:
        before: snapshot at the start of the window.
        after: snapshot at its end.
        own_cpu_s: CPU seconds of the measuring process between the snapshots.
        worker_cpu_s: CPU seconds of the worker that ran.
        idle_cpu_s: CPU seconds of the workers that waited.
    """
    busy, total = _step(before.busy_s, after.busy_s), _step(before.total_s, after.total_s)
    steal = _step(before.steal_s, after.steal_s)
    foreign = None
    if busy is not None and worker_cpu_s is not None and idle_cpu_s is not None:
        capacity = (after.time_s - before.time_s) * after.processors
        # Ticks and nanoseconds come from different clocks, so on a quiet machine the remainder may be negative.
        foreign = max(0.0, busy - own_cpu_s - worker_cpu_s - idle_cpu_s) / capacity
    return {
        "steal_share": None if steal is None or not total else steal / total,
        "throttled_s": _step(before.throttled_s, after.throttled_s),
        "foreign_cpu_share": foreign,
        "idle_workers_cpu_s": idle_cpu_s,
        "temperature_c": after.temperature_c,
        "thermal_throttles": _step(before.throttles, after.throttles),
    }


def process_cpu_s(pid: int) -> float | None:
    """Return the CPU seconds of all threads of another process, or None if it has ended or access is denied."""
    try:
        # The kernel's encoding of another process's clock; /proc/PID/stat only counts ticks of 10 ms.
        return time.clock_gettime(~pid << 3 | PROCESS_CLOCK)
    except (OSError, AttributeError):  # AttributeError: Windows has no such clocks
        return None


def cpu_since(earlier: Mapping[int, float | None]) -> float | None:
    """Return the total CPU seconds of processes since an earlier reading by pid; None if one is not readable."""
    steps = [_step(value, process_cpu_s(pid)) for pid, value in earlier.items()]
    # A partial sum would look like an idle worker, so one unreadable process makes the whole unknown.
    known = [step for step in steps if step is not None]
    return sum(known) if len(known) == len(steps) else None


def _step(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else float(after - before)


def _total(files: Iterable[Path]) -> int | None:
    values = [int(text) for text in (_text(path) for path in files) if text]
    return sum(values) if values else None


def _cpu_stat(root: Path) -> Path | None:
    """Return the file with the throttled time of this process: that of its own control group, or the nearest parent."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            bases = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            # Distributions mount version 1 under the joined names (cpu,cpuacct) or under a link.
            bases = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/cpu"]
        else:
            continue
        for base in bases:
            folder = base / group.lstrip("/")
            # Containers often hide their own group; the nearest visible parent carries the quota.
            for candidate in (folder, *folder.parents):
                if "throttled_" in _text(candidate / "cpu.stat"):
                    return candidate / "cpu.stat"
                if candidate == base:
                    break
    return None


def _temperature_files(root: Path) -> tuple[Path, ...]:
    found = []
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(chip / "name") in CORE_SENSORS:
            found += sorted(chip.glob("temp*_input"))
    if not found:
        for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
            kind = _text(zone / "type")
            if "cpu" in kind or "x86_pkg" in kind or "soc" in kind:
                found.append(zone / "temp")
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):  # absent, not permitted, or a sensor that is off: the value is unknown
        return ""
