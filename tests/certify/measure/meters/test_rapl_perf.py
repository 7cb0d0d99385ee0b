from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from certify.core.errors import MeasureError
from certify.measure.meters.base import Usage
from certify.measure.meters.perf_event import ATTRIBUTES, PerfEvent
from certify.measure.meters.rapl_perf import RaplPerf
from certify.testing import check_meter

USED = Usage(duration_s=1.0, cpu_s=1.0)
SCALE = 2**-32
CONFIG = {"energy-cores": 1, "energy-pkg": 2, "energy-ram": 3, "energy-gpu": 4, "energy-psys": 5}


class Machine:
    """A tree of files and the events that can be opened on it; joules by event and processor."""

    def __init__(self, root: Path, cpumask: str, packages: dict[int, tuple[int, int]], vendor: str = "GenuineIntel"):
        self.root = root
        self.source = root / "sys/bus/event_source/devices/power"
        (self.source / "events").mkdir(parents=True)
        (self.source / "type").write_text("22\n")
        (self.source / "cpumask").write_text(f"{cpumask}\n")
        for event in ("energy-cores", "energy-pkg", "energy-ram", "energy-psys"):
            (self.source / "events" / event).write_text(f"event=0x0{CONFIG[event]}\n")
            (self.source / "events" / f"{event}.unit").write_text("Joules\n")
            (self.source / "events" / f"{event}.scale").write_text("2.3283064365386962890625e-10\n")
        for cpu, (package, die) in packages.items():
            topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{package}\n")
            (topology / "die_id").write_text(f"{die}\n")
        (root / "proc/sys/kernel").mkdir(parents=True)
        (root / "proc/cpuinfo").write_text(f"vendor_id\t: {vendor}\n")
        (root / "proc/sys/kernel/perf_event_paranoid").write_text("2\n")
        self.opened: dict[tuple[int, int], float] = {}
        self.refusal: OSError | None = None
        self.now_s = 0.0

    def open_event(self, kind: int, config: int, cpu: int) -> Machine.Event:
        assert kind == 22
        if self.refusal is not None:
            raise self.refusal
        self.opened[config, cpu] = 0.0
        return Machine.Event(self, (config, cpu))

    class Event:
        def __init__(self, machine: Machine, key: tuple[int, int]) -> None:
            self.machine, self.key = machine, key

        def read(self) -> int:
            return int(self.machine.opened[self.key] / SCALE)

    def run(self, joules: dict[int, float]) -> None:
        """Joules by the event's number, on each processor."""
        for config, cpu in self.opened:
            self.opened[config, cpu] += joules.get(config, 0.0)

    def meter(self, alive: tuple[int, ...] = (2, 3)) -> RaplPerf:
        moved = dict.fromkeys(alive, 0.5)
        return RaplPerf(self.root, self.open_event, lambda _: self.run(moved), lambda: self.now_s)


def test_meter_passes_the_battery(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0", {0: (0, 0)})
    check_meter(machine.meter, work=lambda: machine.run({2: 5.0, 3: 1.0}))
    check_meter(lambda: RaplPerf(tmp_path / "none"), readable=False)


def test_energy_sums_packages_and_memory_without_parts_and_platform(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0,18", {0: (0, 0), 18: (1, 0)})
    meter = machine.meter()
    assert meter.unavailable() is None
    assert set(machine.opened) == {(2, 0), (3, 0), (2, 18), (3, 18)}
    meter.start()
    machine.run({2: 12.5, 3: 2.0, 1: 100.0, 5: 1000.0})
    reading = meter.stop(USED)
    assert reading.energy_j == pytest.approx(29.0, abs=1e-5)
    assert reading.raw["package-cpu18_dram_after_uj"] == pytest.approx(2.5e6, abs=1)


@pytest.mark.parametrize(
    ("mask", "vendor", "packages", "read"),
    [
        ("0", "GenuineIntel", {0: (0, 0)}, {0}),
        ("0-3", "GenuineIntel", {0: (0, 0), 1: (0, 0), 2: (1, 0), 3: (1, 0)}, {0, 2}),
        ("0,8", "GenuineIntel", {0: (0, 0), 8: (0, 1)}, {0, 8}),
        ("0,8", "AuthenticAMD", {0: (0, 0), 8: (0, 1)}, {0}),
    ],
    ids=["one socket", "every processor is listed", "two dies of Intel", "two dies of AMD"],
)
def test_each_set_of_counters_is_read_once(
    tmp_path: Path, mask: str, vendor: str, packages: dict[int, tuple[int, int]], read: set[int]
) -> None:
    machine = Machine(tmp_path, mask, packages, vendor)
    assert machine.meter().unavailable() is None
    assert {cpu for _, cpu in machine.opened} == read


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_meter_is_refused_with_the_paranoid_level_when_permission_is_missing(tmp_path: Path, number: int) -> None:
    machine = Machine(tmp_path, "0", {0: (0, 0)})
    machine.refusal = OSError(number, os.strerror(number))
    reason = machine.meter().unavailable() or ""
    assert os.strerror(number) in reason and "perf_event_paranoid is 2" in reason and "sudo sysctl" in reason


def test_meter_is_refused_when_there_is_no_energy_event(tmp_path: Path) -> None:
    assert "no event energy-pkg" in (RaplPerf(tmp_path).unavailable() or "")


def test_meter_is_refused_when_the_unit_is_not_joules(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0", {0: (0, 0)})
    (machine.source / "events/energy-pkg.unit").write_text("Wh\n")
    assert "counted in Wh instead of Joules" in (machine.meter().unavailable() or "")


def test_meter_is_refused_when_the_package_counter_does_not_move(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0", {0: (0, 0)})
    assert "did not move" in (machine.meter(alive=(3,)).unavailable() or "")


def test_memory_is_left_out_when_its_event_does_not_move(tmp_path: Path) -> None:
    meter = Machine(tmp_path, "0", {0: (0, 0)}).meter(alive=(2,))
    assert meter.unavailable() is None
    assert meter.facts({}).parameters == {"left_out_for_standing_still": ["package-cpu0_dram"]}


def test_stop_fails_when_the_event_can_no_longer_be_read(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0", {0: (0, 0)})
    meter = machine.meter()
    assert meter.unavailable() is None
    meter.start()
    machine.opened[2, 0] = -1.0
    with pytest.raises(MeasureError, match="rapl-perf failed during a window.*reset"):
        meter.stop(USED)


def test_perf_event_raises_the_kernels_error_when_there_is_no_such_source() -> None:
    assert ATTRIBUTES.size == 64
    with pytest.raises(OSError) as caught:
        PerfEvent(kind=0x7FFFFFFF, config=0, cpu=0)
    assert caught.value.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS, None)


def test_perf_event_counts_when_the_kernel_allows_it() -> None:
    """The software event context-switches (type 1, config 3) exists on every kernel."""
    try:
        event = PerfEvent(kind=1, config=3, cpu=min(os.sched_getaffinity(0)))
    except PermissionError as error:
        pytest.skip(f"perf_event_open is not allowed here: {error}")
    before = event.read()
    assert event.read() >= before >= 0
