from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from certify.errors import MeasureError
from certify.estimate import EvidenceLevel
from certify.measure.meters.base import Usage
from certify.measure.meters.nvml import Nvml

USED = Usage(duration_s=1.0, cpu_s=1.0)


class _Error(Exception):
    pass


class _NotSupported(_Error):
    pass


class Board:
    """A stand-in for pynvml with one board of constant power whose counter follows the clock."""

    NVMLError = _Error
    NVMLError_NotSupported = _NotSupported
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_GPU_VIRTUALIZATION_MODE_VGPU = 2

    def __init__(self, **changed: Any) -> None:
        self.state = SimpleNamespace(count=1, mig=0, virtualization=0, counter=True, power_mw=100_000, fails=False)
        for name, value in changed.items():
            setattr(self.state, name, value)
        self.opened: list[object] = []

    def nvmlInit(self) -> None:
        if self.state.fails:
            raise _Error("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:
        return self.state.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.opened.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.opened.append(uuid)
        return uuid

    def nvmlDeviceGetMigMode(self, device: object) -> list[int]:
        if self.state.mig is None:
            raise _NotSupported("Not Supported")
        return [self.state.mig, self.state.mig]

    def nvmlDeviceGetVirtualizationMode(self, device: object) -> int:
        return self.state.virtualization

    def nvmlDeviceGetTotalEnergyConsumption(self, device: object) -> int:
        if self.state.fails:
            raise _Error("GPU is lost")
        if not self.state.counter:
            raise _NotSupported("Not Supported")
        return int(time.perf_counter() * self.state.power_mw)

    def nvmlDeviceGetPowerUsage(self, device: object) -> int:
        if self.state.power_mw is None:
            raise _NotSupported("Not Supported")
        return self.state.power_mw

    def nvmlDeviceGetName(self, device: object) -> bytes:
        return b"Board"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "1.2"


def _window(meter: Nvml, seconds: float = 0.12):
    meter.start()
    time.sleep(seconds)
    return meter.stop(USED)


def test_energy_is_the_counters_step_beside_integrated_power(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Nvml(Board(), "0")
    assert meter.unavailable() is None and meter.level is EvidenceLevel.COUNTER
    reading = _window(meter)
    assert reading.energy_j == pytest.approx((reading.raw["board_after_mj"] - reading.raw["board_before_mj"]) / 1000)
    assert reading.energy_j == pytest.approx(reading.raw["integrated_j"], rel=0.1)
    assert 10 < reading.energy_j < 100


def test_energy_is_integrated_and_sampled_when_the_board_has_no_counter() -> None:
    meter = Nvml(Board(counter=False), "0")
    assert meter.unavailable() is None and meter.level is EvidenceLevel.SAMPLED
    assert 10 < _window(meter).energy_j < 100
    assert "trapezoid" in meter.facts({}).method


@pytest.mark.parametrize(
    ("changed", "visible", "words"),
    [
        ({"fails": True}, None, "Driver Not Loaded"),
        ({"count": 0}, None, "no NVIDIA GPU"),
        ({"mig": 1}, None, "MIG slices"),
        ({}, "MIG-1234", "MIG slice"),
        ({"virtualization": 2}, None, "vGPU"),
        ({"counter": False, "power_mw": None}, "0", "neither energy nor power"),
        ({}, "", "hides every GPU"),
        ({}, "-1", "hides every GPU"),
    ],
)
def test_refused_with_the_reason_when_the_board_can_not_be_metered(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], visible: str | None, words: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert words in (Nvml(Board(**changed), visible).unavailable() or "")


@pytest.mark.parametrize(("visible", "opened"), [("2,0", 2), ("GPU-abc", "GPU-abc")])
def test_board_is_the_first_visible_one_when_the_environment_says_so(visible: str, opened: object) -> None:
    board = Board(mig=None)
    assert Nvml(board, visible).unavailable() is None
    assert board.opened == [opened]


def test_reading_has_no_integral_when_power_can_not_be_read() -> None:
    board = Board()
    meter = Nvml(board, "0")
    assert meter.unavailable() is None
    meter.start()
    board.nvmlDeviceGetPowerUsage = lambda device: (_ for _ in ()).throw(_NotSupported("gone"))  # type: ignore[method-assign]
    assert "integrated_j" not in meter.stop(USED).raw


def test_stop_fails_when_the_board_is_lost_midway() -> None:
    board = Board()
    meter = Nvml(board, "0")
    assert meter.unavailable() is None
    meter.start()
    board.state.fails = True
    with pytest.raises(MeasureError, match="nvml failed midway: GPU is lost"):
        meter.stop(USED)
