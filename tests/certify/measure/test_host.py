from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from certify.measure.host import Host, around, cpu_since, process_cpu_s


def _write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def _stat(root: Path, user: int, idle: int, steal: int) -> None:
    total = f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\n"
    _write(root, "proc/stat", total + total.replace("cpu ", "cpu0") + total.replace("cpu ", "cpu1") + "intr 5\n")


def test_steal_and_foreign_shares_are_those_of_the_window(tmp_path: Path) -> None:
    _stat(tmp_path, user=100, idle=1000, steal=10)
    host = Host(tmp_path, ticks_per_s=100)
    before = replace(host.snapshot(), time_s=0.0)
    _stat(tmp_path, user=220, idle=1070, steal=20)
    after = replace(host.snapshot(), time_s=1.0)
    found = around(before, after, own_cpu_s=0.1, worker_cpu_s=0.8, idle_cpu_s=0.1)
    assert found["steal_share"] == pytest.approx(10 / 200)
    assert found["foreign_cpu_share"] == pytest.approx((1.2 - 0.1 - 0.8 - 0.1) / 2)
    assert found["idle_workers_cpu_s"] == 0.1


def test_processors_are_not_busy_when_they_wait_for_a_disk(tmp_path: Path) -> None:
    """The fields of proc(5): user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice."""
    _write(tmp_path, "proc/stat", "cpu  7 20 300 4000 50000 11 13 17 3 2\ncpu0 7 20 300 4000 50000 11 13 17 3 2\n")
    snapshot = Host(tmp_path, ticks_per_s=100).snapshot()
    assert snapshot.busy_s == pytest.approx((7 + 20 + 300 + 11 + 13) / 100)
    assert snapshot.total_s == pytest.approx((7 + 20 + 300 + 4000 + 50000 + 11 + 13 + 17) / 100)
    assert snapshot.steal_s == pytest.approx(17 / 100)


def test_foreign_share_is_not_negative_when_clocks_disagree(tmp_path: Path) -> None:
    _stat(tmp_path, 0, 0, 0)
    host = Host(tmp_path, ticks_per_s=100)
    before = replace(host.snapshot(), time_s=0.0)
    _stat(tmp_path, 99, 101, 0)
    found = around(before, replace(host.snapshot(), time_s=1.0), 0.0, worker_cpu_s=1.0, idle_cpu_s=0.0)
    assert found["foreign_cpu_share"] == 0.0


def test_everything_is_none_when_nothing_can_be_read(tmp_path: Path) -> None:
    host = Host(tmp_path, ticks_per_s=100)
    found = around(host.snapshot(), host.snapshot(), 0.0, None, None)
    assert set(found.values()) == {None}
    assert set(found) == {
        "steal_share", "throttled_s", "foreign_cpu_share", "idle_workers_cpu_s", "temperature_c", "thermal_throttles",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("group", "file", "text", "seconds"),
    [
        ("0::/", "sys/fs/cgroup/cpu.stat", "usage_usec 5\nthrottled_usec 1500000\n", 1.5),
        ("0::/user/me", "sys/fs/cgroup/user/me/cpu.stat", "throttled_usec 20\n", 20e-6),
        ("0::/user/me", "sys/fs/cgroup/user/cpu.stat", "throttled_usec 30\n", 30e-6),
        ("4:cpu,cpuacct:/a\n0::/", "sys/fs/cgroup/cpu,cpuacct/a/cpu.stat", "throttled_time 2000000000\n", 2.0),
        ("4:cpu:/gone", "sys/fs/cgroup/cpu/cpu.stat", "throttled_time 1\n", 1e-9),
    ],
)
def test_throttled_time_is_found_when_groups_are_of_either_version(
    tmp_path: Path, group: str, file: str, text: str, seconds: float
) -> None:
    _write(tmp_path, "proc/self/cgroup", group + "\n")
    _write(tmp_path, "sys/fs/cgroup/unrelated", "")
    _write(tmp_path, file, text)
    assert Host(tmp_path).snapshot().throttled_s == pytest.approx(seconds)


def test_temperature_is_the_hottest_core_when_hwmon_has_one(tmp_path: Path) -> None:
    _write(tmp_path, "sys/class/hwmon/hwmon0/name", "nvme\n")
    _write(tmp_path, "sys/class/hwmon/hwmon0/temp1_input", "90000\n")
    _write(tmp_path, "sys/class/hwmon/hwmon1/name", "coretemp\n")
    _write(tmp_path, "sys/class/hwmon/hwmon1/temp1_input", "51000\n")
    _write(tmp_path, "sys/class/hwmon/hwmon1/temp2_input", "57500\n")
    assert Host(tmp_path).snapshot().temperature_c == 57.5


def test_temperature_is_that_of_a_thermal_zone_when_there_is_no_sensor_chip(tmp_path: Path) -> None:
    _write(tmp_path, "sys/class/thermal/thermal_zone0/type", "acpitz\n")
    _write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "99000\n")
    _write(tmp_path, "sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n")
    _write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "44000\n")
    assert Host(tmp_path).snapshot().temperature_c == 44.0


def test_throttle_events_are_summed_over_cores_and_packages(tmp_path: Path) -> None:
    for cpu, core, package in ((0, 3, 1), (1, 4, 1)):
        folder = f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
        _write(tmp_path, f"{folder}/core_throttle_count", f"{core}\n")
        _write(tmp_path, f"{folder}/package_throttle_count", f"{package}\n")
    assert Host(tmp_path).snapshot().throttles == 9


def test_process_time_is_that_of_the_other_process_when_it_works() -> None:
    code = "import time\nwhile time.process_time() < 0.05: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        earlier = {other.pid: 0.0}
        assert other.stdout is not None
        other.stdout.readline()
        assert 0.05 <= (cpu_since(earlier) or 0) < 2
        other.communicate(b"\n")
    assert process_cpu_s(other.pid) is None
    assert cpu_since(earlier) is None


def test_snapshot_reads_this_machine() -> None:
    snapshot = Host().snapshot()
    assert snapshot.processors >= len(os.sched_getaffinity(0))
    assert snapshot.busy_s is not None and snapshot.busy_s > 0
