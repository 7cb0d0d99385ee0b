from __future__ import annotations

import time
from pathlib import Path

import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.measure.meters.base import Usage
from certify.measure.meters.hwmon import Hwmon
from certify.testing import check_meter

USED = Usage(duration_s=0.1, cpu_s=0.1)


def _chip(root: Path, number: int, driver: str, **files: object) -> Path:
    folder = root / f"sys/class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    for name, value in {"name": driver, **files}.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def _rails(root: Path, number: int, *labels: str) -> Path:
    """An INA3221 whose channels carry 5 V and 1, 2, 3 A, with the sums that the driver adds."""
    files: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 9, "curr4_input": 6000}
    for channel, label in enumerate(labels, start=1):
        files |= {f"in{channel}_label": label, f"in{channel}_input": 5000, f"curr{channel}_input": 1000 * channel}
    return _chip(root, number, "ina3221", **files)


def _power_w(meter: Hwmon, seconds: float = 0.1) -> tuple[float, float]:
    """Bounds of the power that was read, since how long the window lasted to the meter is known by bounds alone."""
    outer = time.perf_counter()
    meter.start()
    inner = time.perf_counter()
    time.sleep(seconds)
    inner = time.perf_counter() - inner
    energy_j = meter.stop(USED).energy_j
    return energy_j / (time.perf_counter() - outer), energy_j / inner


def _reads(meter: Hwmon, power_w: float) -> bool:
    low, high = _power_w(meter)
    return low <= power_w <= high


def test_meter_passes_the_battery(tmp_path: Path) -> None:
    _rails(tmp_path / "power", 1, "VDD_IN")
    check_meter(lambda: Hwmon(root=tmp_path / "power"), work=lambda: time.sleep(0.02))
    energy = _chip(tmp_path / "energy", 1, "ina228", power1_input=5_000_000, energy1_input=1_000) / "energy1_input"

    def move(joules: float) -> None:
        energy.write_text(f"{int(energy.read_text()) + round(joules * 1e6)}\n")

    check_meter(lambda: Hwmon((), tmp_path / "energy", move), work=lambda: move(5.0))
    check_meter(lambda: Hwmon(root=tmp_path / "none"), readable=False)


def test_energy_is_that_of_the_whole_module_when_a_jetson_has_the_input_rail(tmp_path: Path) -> None:
    _rails(tmp_path, 1, "VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC")
    meter = Hwmon(root=tmp_path)
    assert meter.unavailable() is None
    assert (meter.level, meter.scope, meter.devices) == (EvidenceLevel.SAMPLED, "module", {"cpu", "cuda"})
    assert _reads(meter, 10.0)
    assert "of VDD_IN" in meter.facts({}).method


def test_meter_is_refused_with_the_names_when_the_total_cannot_be_identified(tmp_path: Path) -> None:
    _rails(tmp_path, 1, "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    reason = Hwmon(root=tmp_path).unavailable() or ""
    assert "VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0" in reason and "--meter hwmon:NAME,NAME" in reason


def test_energy_is_the_sum_of_the_rails_that_the_user_names(tmp_path: Path) -> None:
    _rails(tmp_path, 1, "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    meter = Hwmon(("VDD_GPU_SOC", "VIN_SYS_5V0"), tmp_path)
    assert meter.unavailable() is None
    assert _reads(meter, 20.0)
    assert meter.facts({}).parameters["sensors_named_by_the_user"]


def test_meter_is_refused_when_a_named_sensor_is_missing(tmp_path: Path) -> None:
    _rails(tmp_path, 1, "VDD_GPU_SOC")
    assert "unknown sensor VDD_X. The sensors here are VDD_GPU_SOC" in (Hwmon(("VDD_X",), tmp_path).unavailable() or "")


@pytest.mark.parametrize(
    ("driver", "files", "scope", "power_w"),
    [
        ("ina226", {"power1_input": 7_500_000}, "module", 7.5),
        ("ina260_u14", {"power1_input": 6_000_000}, "module", 6.0),
        ("power_meter", {"power1_average": 240_000_000}, "board", 240.0),
        ("ina3221", {"in2_label": "A", "in2_input": 1000, "curr2_input": 2000, "in1_label": "NC", "in1_input": 0,
                     "curr1_input": 0, "in3_label": "B", "in3_enable": 0, "curr3_input": 5}, "module", 2.0),
    ],
    ids=["INA226", "INA260 renamed by the board", "ACPI power meter", "INA3221 with channels off"],
)  # fmt: skip
def test_energy_is_that_of_the_only_sensor_when_there_is_one(
    tmp_path: Path, driver: str, files: dict[str, object], scope: str, power_w: float
) -> None:
    _chip(tmp_path, 0, "coretemp", temp1_input=40_000)
    _chip(tmp_path, 1, "amdgpu", power1_average=30_000_000)
    _chip(tmp_path, 2, driver, **files)
    meter = Hwmon(root=tmp_path)
    assert meter.unavailable() is None
    assert meter.scope == scope
    assert _reads(meter, power_w)


def test_machine_power_meter_is_chosen_when_there_are_rails_too(tmp_path: Path) -> None:
    _chip(tmp_path, 1, "ina226", power1_input=1_000_000)
    _chip(tmp_path, 2, "power_meter", power1_average=100_000_000)
    meter = Hwmon(root=tmp_path)
    assert meter.unavailable() is None and meter.scope == "board"


def test_energy_is_the_counters_step_when_the_driver_has_one(tmp_path: Path) -> None:
    chip = _chip(tmp_path, 1, "ina228", power1_input=5_000_000, energy1_input=1_000)
    meter = Hwmon(root=tmp_path, pause=lambda _: (chip / "energy1_input").write_text("2000\n") and None)
    assert meter.unavailable() is None and meter.level is EvidenceLevel.COUNTER
    meter.start()
    (chip / "energy1_input").write_text("5002000\n")
    assert meter.stop(USED).energy_j == pytest.approx(5.0)


def test_power_is_sampled_when_the_energy_counter_does_not_move(tmp_path: Path) -> None:
    _chip(tmp_path, 1, "ina228", power1_input=5_000_000, energy1_input=1_000)
    meter = Hwmon(root=tmp_path, pause=lambda _: None)
    assert meter.unavailable() is None and meter.level is EvidenceLevel.SAMPLED


def test_meter_is_refused_when_there_is_no_sensor(tmp_path: Path) -> None:
    assert "no INA or power_meter sensor" in (Hwmon(root=tmp_path).unavailable() or "")


def test_meter_is_refused_when_the_sensor_reads_no_power(tmp_path: Path) -> None:
    _chip(tmp_path, 1, "ina226", power1_input=0)
    assert "reads 0 W" in (Hwmon(root=tmp_path).unavailable() or "")


def test_meter_is_refused_with_the_permission_needed_when_the_sensor_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = _chip(tmp_path, 1, "power_meter", power1_average=1) / "power1_average"
    read = Path.read_text

    def denied(path: Path, *rest: object) -> str:
        if path == sensor:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", denied)
    assert f"sudo chmod o+r {sensor}" in (Hwmon(root=tmp_path).unavailable() or "")


def test_stop_fails_when_the_sensor_vanishes_midway(tmp_path: Path) -> None:
    chip = _chip(tmp_path, 1, "ina226", power1_input=1_000_000)
    meter = Hwmon(root=tmp_path)
    assert meter.unavailable() is None
    meter.start()
    (chip / "power1_input").unlink()
    with pytest.raises(MeasureError, match="hwmon failed during a window.*power1_input"):
        meter.stop(USED)
