from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import MeasureError
from certify.measure.meters.base import Usage
from certify.measure.meters.rapl_powercap import RaplPowercap
from certify.testing import check_meter

RANGE = 262_143_328_850
USED = Usage(duration_s=1.0, cpu_s=1.0)


def _zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = RANGE) -> Path:
    zone = root / "sys/class/powercap" / folder
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return zone / "energy_uj"


def _add(counter: Path, energy_uj: int, range_uj: int = RANGE) -> None:
    after = counter.with_name("after")  # put in place at once, for a thread may be reading
    after.write_text(f"{(int(counter.read_text()) + energy_uj) % (range_uj + 1)}\n")
    after.replace(counter)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _meter(root: Path, moves: list[Path], clock: Clock | None = None) -> RaplPowercap:
    """A meter whose probe sees the counters move."""

    def pause(_: float) -> None:
        for counter in moves:
            _add(counter, 1000)

    meter = RaplPowercap(root, pause, clock or Clock())
    assert meter.unavailable() is None
    return meter


def _window(meter: RaplPowercap, run: Callable[[], None]) -> float:
    meter.start()
    run()
    return meter.stop(USED).energy_j


def test_meter_passes_the_battery_when_its_counter_wraps(tmp_path: Path) -> None:
    turn = 12_000_000
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 0, turn)
    meter = partial(RaplPowercap, tmp_path, lambda _: _add(package, 1000, turn))
    check_meter(meter, work=lambda: _add(package, 5_000_000, turn))
    check_meter(lambda: RaplPowercap(tmp_path / "none"), readable=False)


def test_energy_sums_sockets_and_memory_and_leaves_parts_and_platform_out(tmp_path: Path) -> None:
    counters = {
        name: _zone(tmp_path, folder, label, 1_000_000)
        for name, folder, label in [
            ("package 0", "intel-rapl:0", "package-0"),
            ("core", "intel-rapl:0:0", "core"),
            ("uncore", "intel-rapl:0:1", "uncore"),
            ("dram 0", "intel-rapl:0:2", "dram"),
            ("package 1", "intel-rapl:1", "package-1"),
            ("dram 1", "intel-rapl:1:0", "dram"),
            ("platform", "intel-rapl:2", "psys"),
            ("mirror", "intel-rapl-mmio:0", "package-0"),
            ("mirrored dram", "intel-rapl-mmio:0:0", "dram"),
        ]
    }
    meter = _meter(tmp_path, list(counters.values()))

    def run() -> None:
        for power, counter in enumerate(counters.values()):
            _add(counter, 10**power)

    used = {name: 10**power for power, name in enumerate(counters)}
    wanted = used["package 0"] + used["dram 0"] + used["package 1"] + used["dram 1"]
    assert _window(meter, run) == pytest.approx(wanted * 1e-6, rel=1e-12)


def test_energy_counts_a_package_once_when_two_zones_have_its_name(tmp_path: Path) -> None:
    first = _zone(tmp_path, "intel-rapl:0", "package-0", 0)
    second = _zone(tmp_path, "intel-rapl:1", "package-0", 0)
    meter = _meter(tmp_path, [first, second])

    def run() -> None:
        _add(first, 3_000_000)
        _add(second, 3_000_000)

    assert _window(meter, run) == pytest.approx(3.0)


@given(before=st.integers(0, RANGE) | st.integers(RANGE - 10**8, RANGE), used=st.integers(0, 10**8))
def test_energy_is_what_was_used_when_the_counter_wraps(
    tmp_path_factory: pytest.TempPathFactory, before: int, used: int
) -> None:
    root = tmp_path_factory.mktemp("rapl")
    package = _zone(root, "intel-rapl:0", "package-0", 0)
    meter = _meter(root, [package])
    package.write_text(str(before))
    assert _window(meter, lambda: _add(package, used)) == pytest.approx(used * 1e-6)


def test_error_says_what_to_do_when_there_is_no_powercap(tmp_path: Path) -> None:
    reason = RaplPowercap(tmp_path).unavailable()
    assert reason == (
        f"RAPL: {tmp_path}/sys/class/powercap is absent (virtual machine or container). "
        "Use --meter vcpu-watts for a modelled figure, or run on bare metal."
    )


def test_meter_is_refused_when_no_zone_is_a_package(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", "psys", 1)
    assert "no package zone" in (RaplPowercap(tmp_path).unavailable() or "")


def test_meter_is_refused_with_the_permission_needed_when_the_counter_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    read = Path.read_text

    def denied(path: Path, *rest: object) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", denied)
    reason = RaplPowercap(tmp_path).unavailable() or ""
    assert str(counter) in reason and "chmod o+r" in reason


def test_meter_is_refused_when_the_counter_does_not_move(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", "package-0", 77)
    assert "package-0 did not move" in (RaplPowercap(tmp_path, lambda _: None).unavailable() or "")


def test_meter_is_refused_when_one_of_two_sockets_does_not_move(tmp_path: Path) -> None:
    alive = _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    _zone(tmp_path, "intel-rapl:1", "package-1", 77)
    meter = RaplPowercap(tmp_path, lambda _: _add(alive, 1000))
    assert "package-1 did not move" in (meter.unavailable() or "")


def test_memory_is_left_out_with_a_note_when_its_counter_is_dead(tmp_path: Path) -> None:
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    _zone(tmp_path, "intel-rapl:0:0", "dram", 0)
    facts = _meter(tmp_path, [package]).facts({})
    assert "dram" not in facts.method
    assert facts.parameters["left_out_for_standing_still"] == ["package-0_dram"]


def test_stop_fails_when_the_counter_was_reset(tmp_path: Path) -> None:
    clock = Clock()
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000_000)
    meter = _meter(tmp_path, [package], clock)
    meter.start()
    clock.now_s = 1.0
    package.write_text("1000\n")
    with pytest.raises(MeasureError, match="went from 5000001000 to 1000 uj in 1 s.*reset"):
        meter.stop(USED)


def test_stop_fails_when_a_counter_stops_midway(tmp_path: Path) -> None:
    clock = Clock()
    counters = [_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", 1) for n in range(2)]
    meter = _meter(tmp_path, counters, clock)
    meter.start()
    clock.now_s = 1.0
    _add(counters[0], 20_000_000)
    with pytest.raises(MeasureError, match="the counter package-1 did not move from 1001 in 1 s"):
        meter.stop(USED)


def test_meter_is_refused_when_a_range_is_not_a_number(tmp_path: Path) -> None:
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    package.with_name("max_energy_range_uj").write_text("unknown\n")
    assert "cannot be read" in (RaplPowercap(tmp_path).unavailable() or "")


def test_stop_fails_when_a_zone_vanishes_midway(tmp_path: Path) -> None:
    package = _zone(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = _meter(tmp_path, [package])
    meter.start()
    package.unlink()
    with pytest.raises(MeasureError, match="rapl-powercap failed during a window.*energy_uj"):
        meter.stop(USED)
