from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.measure.meters.base import Usage
from certify.measure.meters.zeus import Zeus
from certify.testing import check_meter

USED = Usage(duration_s=0.1, cpu_s=0.1)


class ZeusBaseError(Exception):
    pass


class AMDGPUs:
    """As zeus names the class; one GPU of constant power, and a counter that a test moves."""

    def __init__(self, counter: bool = True, power_mw: int = 100_000) -> None:
        self.counter, self.power_mw, self.energy_mj = counter, power_mw, 1000

    def supports_get_total_energy_consumption(self, index: int) -> bool:
        return self.counter

    def get_total_energy_consumption(self, index: int) -> int:
        if self.energy_mj is None:
            raise ZeusBaseError("the GPU is lost")
        return self.energy_mj

    def get_instant_power_usage(self, index: int) -> int:
        return self.power_mw


class NVIDIAGPUs:
    pass


def _load(device: Any) -> Any:
    modules = {
        "zeus": SimpleNamespace(__version__="0.16.0"),
        "zeus.device": device,
        "zeus.exception": SimpleNamespace(ZeusBaseError=ZeusBaseError),
    }
    return modules.__getitem__


def _amd(root: Path, gpus: Any, moved_mj: int = 10) -> Zeus:
    def pause(_: float) -> None:
        gpus.energy_mj += moved_mj

    return Zeus(_load(SimpleNamespace(get_gpus=lambda: gpus)), "linux", root, pause)


def _chip(root: Path, system: str, start_mj: dict[str, int | None], moved_mj: int) -> tuple[Zeus, SimpleNamespace]:
    energy = SimpleNamespace(**start_mj)

    def pause(_: float) -> None:
        for name, value in vars(energy).items():
            setattr(energy, name, None if value is None else value + moved_mj)

    soc = SimpleNamespace(get_total_energy_consumption=lambda: SimpleNamespace(**vars(energy)))
    return Zeus(_load(SimpleNamespace(get_soc=lambda: soc)), system, root, pause), energy


@pytest.mark.parametrize("counter", [True, False])
def test_meter_passes_the_battery(tmp_path: Path, counter: bool) -> None:
    gpus = AMDGPUs(counter)

    def work() -> None:
        gpus.energy_mj += 2500
        time.sleep(0.02)

    check_meter(lambda: _amd(tmp_path, gpus), work=work)
    check_meter(lambda: _amd(tmp_path, NVIDIAGPUs()), readable=False)


def test_energy_is_the_step_of_the_counter_when_the_gpu_is_from_amd(tmp_path: Path) -> None:
    gpus = AMDGPUs()
    meter = _amd(tmp_path, gpus)
    assert meter.unavailable() is None
    assert (meter.level, meter.scope, meter.devices) == (EvidenceLevel.COUNTER, "board", {"cuda"})
    meter.start()
    gpus.energy_mj += 2500
    assert meter.stop(USED).energy_j == pytest.approx(2.5)
    assert meter.facts({}).parameters["zeus"] == "0.16.0"


def test_power_is_sampled_when_the_counter_is_not_plausible(tmp_path: Path) -> None:
    meter = _amd(tmp_path, AMDGPUs(counter=False))
    assert meter.unavailable() is None and meter.level is EvidenceLevel.SAMPLED
    began = time.perf_counter()
    meter.start()
    time.sleep(0.1)
    assert 9.9 < meter.stop(USED).energy_j <= 100 * (time.perf_counter() - began)


@pytest.mark.parametrize(
    ("gpus", "moved", "words"),
    [
        (AMDGPUs(), 0, "does not move; zeus itself would report 0.0 J"),
        (AMDGPUs(counter=False, power_mw=0), 0, "neither energy nor power"),
        (NVIDIAGPUs(), 0, "Use --meter nvml"),
    ],
)
def test_meter_is_refused_when_zeus_reads_nothing_or_what_another_meter_reads(
    tmp_path: Path, gpus: Any, moved: int, words: str
) -> None:
    assert words in (_amd(tmp_path, gpus, moved).unavailable() or "")


def test_meter_is_refused_when_zeus_finds_no_gpu(tmp_path: Path) -> None:
    def none() -> None:
        raise ZeusBaseError("NVML and AMDSMI unavailable.")

    meter = Zeus(_load(SimpleNamespace(get_gpus=none)), "linux", tmp_path)
    assert "no AMD GPU is readable (NVML and AMDSMI unavailable)." in (meter.unavailable() or "")


def test_meter_is_refused_with_the_extra_when_zeus_is_not_installed(tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    assert "pip install '.[zeus]'" in (Zeus(missing, "linux", tmp_path).unavailable() or "")


def test_energy_is_that_of_the_package_when_the_machine_is_from_apple(tmp_path: Path) -> None:
    parts = {"cpu_total_mj": 10, "dram_mj": 20, "gpu_mj": 30, "gpu_sram_mj": None, "ane_mj": 0}
    meter, energy = _chip(tmp_path, "darwin", parts, 1)
    assert meter.unavailable() is None
    assert (meter.level, meter.scope, meter.devices) == (EvidenceLevel.COUNTER, "package", {"cpu"})
    meter.start()
    energy.cpu_total_mj += 1500
    energy.dram_mj += 500
    assert meter.stop(USED).energy_j == pytest.approx(2.0)


def test_energy_is_sampled_by_zeus_when_the_machine_is_a_jetson(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").touch()
    meter, energy = _chip(tmp_path, "linux", {"cpu_energy_mj": 1, "gpu_energy_mj": 1, "total_energy_mj": 5}, 1)
    assert meter.unavailable() is None
    assert (meter.level, meter.scope, meter.devices) == (EvidenceLevel.SAMPLED, "module", {"cpu", "cuda"})
    meter.start()
    energy.total_energy_mj += 700
    energy.cpu_energy_mj += 300
    assert meter.stop(USED).energy_j == pytest.approx(0.7)


def test_meter_is_refused_when_a_chip_lacks_its_main_figure(tmp_path: Path) -> None:
    parts = {"cpu_total_mj": None, "dram_mj": 20, "gpu_mj": 30, "gpu_sram_mj": None, "ane_mj": 0}
    assert "does not report cpu_total_mj" in (_chip(tmp_path, "darwin", parts, 1)[0].unavailable() or "")


def test_stop_fails_when_the_gpu_is_lost_midway(tmp_path: Path) -> None:
    gpus = AMDGPUs()
    meter = _amd(tmp_path, gpus)
    meter.start()
    gpus.energy_mj = None
    with pytest.raises(MeasureError, match="zeus failed during a window: the GPU is lost"):
        meter.stop(USED)
