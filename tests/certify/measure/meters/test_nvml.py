from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.measure.meters.base import Reading, Usage
from certify.measure.meters.nvml import Nvml
from certify.testing import check_meter

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

    NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU = 3
    NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA = 4
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_SUCCESS = 0

    def __init__(self, **changed: Any) -> None:
        self.state = SimpleNamespace(
            count=1, mig=0, virtualization=0, counter=True, power_mw=100_000, fails=False, instant_mw=None,
            names=["Board"], still=False,
        )  # fmt: skip
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
        return 7 if self.state.still else int(time.perf_counter() * self.state.power_mw)

    def nvmlDeviceGetPowerUsage(self, device: object) -> int:
        if self.state.power_mw is None:
            raise _NotSupported("Not Supported")
        return self.state.power_mw

    def nvmlDeviceGetFieldValues(self, device: object, fields: list[int]) -> list[SimpleNamespace]:
        if self.state.instant_mw is None:
            return [SimpleNamespace(nvmlReturn=3)]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=self.state.instant_mw))]

    def nvmlDeviceGetName(self, device: object) -> bytes:
        return self.state.names[device if isinstance(device, int) else 0].encode()

    def nvmlSystemGetDriverVersion(self) -> str:
        return "1.2"


def _meter(board: Board, visible: str | None = None, **environment: str) -> Nvml:
    shown = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return Nvml(board, {**shown, **environment}, pause=lambda _: time.sleep(0.002))


def _window(meter: Nvml, seconds: float = 0.12) -> Reading:
    meter.start()
    time.sleep(seconds)
    return meter.stop(USED)


@pytest.mark.parametrize("counter", [True, False])
def test_meter_passes_the_battery(counter: bool) -> None:
    check_meter(lambda: _meter(Board(counter=counter)), work=lambda: time.sleep(0.02))
    check_meter(lambda: _meter(Board(fails=True)), readable=False)


def test_energy_is_the_step_of_the_counter_with_power_integrated_as_a_check() -> None:
    meter = _meter(Board())
    assert meter.unavailable() is None and meter.level is EvidenceLevel.COUNTER
    reading = _window(meter)
    assert reading.energy_j == reading.raw["counter_j"]
    assert reading.energy_j == pytest.approx(reading.raw["integrated_j"], rel=0.1)
    assert reading.raw["power_samples"] >= 2
    assert 10 < reading.energy_j < 100


def test_energy_is_integrated_and_sampled_when_the_board_has_no_counter() -> None:
    meter = _meter(Board(counter=False))
    assert meter.unavailable() is None and meter.level is EvidenceLevel.SAMPLED
    reading = _window(meter)
    assert 10 < reading.energy_j < 100
    assert "counter_j" not in reading.raw
    assert "average power" in meter.facts({}).method and "trapezoid" in meter.facts({}).method


def test_energy_is_sampled_when_the_counter_does_not_move() -> None:
    meter = _meter(Board(still=True))
    assert meter.unavailable() is None and meter.level is EvidenceLevel.SAMPLED


def test_power_is_instantaneous_when_the_driver_reports_it() -> None:
    meter = _meter(Board(instant_mw=200_000))
    assert meter.unavailable() is None
    assert meter.facts({}).parameters["power"] == "instant"
    raw = _window(meter).raw
    assert raw["integrated_j"] == pytest.approx(2 * raw["counter_j"], rel=0.2)


def test_stop_fails_when_the_driver_was_reloaded() -> None:
    board = Board()
    meter = _meter(board)
    assert meter.unavailable() is None
    meter.start()
    board.state.still = True
    with pytest.raises(MeasureError, match="to 7 mj.*reset"):
        meter.stop(USED)


@pytest.mark.parametrize(
    ("changed", "visible", "words"),
    [
        ({"fails": True}, None, "Driver Not Loaded"),
        ({"count": 0}, None, "no NVIDIA GPU"),
        ({"mig": 1}, None, "MIG slices"),
        ({}, "MIG-1234", "MIG slice"),
        ({"virtualization": 2}, None, "vGPU"),
        ({"virtualization": 3}, None, "shares the board"),
        ({"counter": False, "power_mw": None}, "0", "neither energy nor power"),
        ({"count": 2, "names": ["Big", "Small"]}, "1", "CUDA_DEVICE_ORDER=PCI_BUS_ID"),
        ({}, "none", "is not a GPU"),
        ({}, "", "hides every GPU"),
        ({}, "-1", "hides every GPU"),
    ],
)
def test_meter_is_refused_with_the_reason_when_the_board_cannot_be_metered(
    changed: dict[str, Any], visible: str | None, words: str
) -> None:
    assert words in (_meter(Board(**changed), visible).unavailable() or "")


def test_board_is_matched_by_bus_order_when_the_boards_differ() -> None:
    meter = _meter(Board(count=2, names=["Big", "Small"]), "1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert meter.unavailable() is None
    assert meter.facts({}).parameters["board"] == "Small"


@pytest.mark.parametrize(("visible", "opened"), [("2,0", 2), ("GPU-abc", "GPU-abc")])
def test_board_is_the_first_visible_one_when_the_environment_says_so(visible: str, opened: object) -> None:
    board = Board(mig=None, count=3, names=["Board"] * 3)
    assert _meter(board, visible).unavailable() is None
    assert board.opened[-1] == opened


def test_reading_has_no_integral_when_power_cannot_be_read() -> None:
    board = Board()
    meter = _meter(board)
    assert meter.unavailable() is None
    meter.start()
    board.nvmlDeviceGetPowerUsage = lambda device: (_ for _ in ()).throw(_NotSupported("gone"))  # type: ignore[method-assign]
    assert "integrated_j" not in meter.stop(USED).raw


def test_stop_fails_when_the_board_is_lost_midway() -> None:
    board = Board()
    meter = _meter(board)
    assert meter.unavailable() is None
    meter.start()
    board.state.fails = True
    with pytest.raises(MeasureError, match="nvml failed during a window: GPU is lost"):
        meter.stop(USED)
