"""Energy counter of an NVIDIA GPU, through NVML (module ``pynvml`` of nvidia-ml-py).

Reads: ``nvmlDeviceGetTotalEnergyConsumption`` (mJ since the driver was loaded). Power is sampled beside it and
    integrated by the trapezoid rule, so that the counter can be checked against it; where a board has no counter, or
    one that stands still, the integrated power is the figure. Power is the field NVML_FI_DEV_POWER_INSTANT where the
    driver has it, else ``nvmlDeviceGetPowerUsage`` (mW).
Scope: board (GPU, its memory, voltage regulators), whoever uses it. Not the host.
Resolution: the counter moves every 20 to 100 ms, by board (97.8 to 102.5 ms on an H100 with driver 580.159.04); hence
    windows of 5 s.
Wrap: never in practice (64 bits of mJ). A reload of the driver sets it back to 0, which is an error.
Privilege: none.
Known lies: ``nvmlDeviceGetPowerUsage`` is averaged over up to a second on recent boards, and power is sampled only a
    part of the time on some (Yang, Adamek, Armour 2023, "Part-time Power Measurements", arXiv 2312.02741); a MIG slice
    or a virtual GPU shows the whole board or nothing, and is refused. NVML counts GPUs by PCI bus, CUDA the fastest
    first: with different boards and no CUDA_DEVICE_ORDER the two may mean different ones, and that is refused.
Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Reading, Usage, facts_of
from certify.measure.meters.counters import Counter, Counters, moving
from certify.measure.meters.sampling import SampledPower

POLL_S = 0.05
STILL_S = 0.3
"""Longer than the counter of any board waits between two steps."""
HINT = "Use a runtime on the CPU, or a machine with the whole GPU"


class Nvml:
    """The energy counter of one GPU, and its power.

    Args:
        library: in place of ``pynvml``.
        environment: in place of the process's own; CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are read from it.
        pause: waits a number of seconds, while the counter should move.
    """

    name = "nvml"
    devices = frozenset({"cuda"})
    scope = "board"
    resolution = "20 to 100 ms"
    privilege = "none"

    def __init__(
        self,
        library: Any = None,
        environment: Mapping[str, str] = os.environ,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._library = library
        self._visible = environment.get("CUDA_VISIBLE_DEVICES")
        self._by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        self._pause = pause
        self._device: Any = None
        self._counters: Counters | None = None
        self._power = "none"
        self._sampled = SampledPower(self.name, self._power_w, POLL_S)

    @property
    def level(self) -> EvidenceLevel:
        """Counter, or sampled where the board has no counter that moves."""
        sampled = self._counters is None and self._power != "none"
        return EvidenceLevel.SAMPLED if sampled else EvidenceLevel.COUNTER

    def unavailable(self) -> str | None:
        """Why the GPU can't be metered, or None."""
        try:
            self._open()
        except MeasureError as error:
            return str(error)
        return None

    def _open(self) -> None:
        if self._library is None:
            try:
                self._library = importlib.import_module("pynvml")
            except ImportError as error:
                raise MeasureError(
                    "NVML: the module pynvml is not installed. Install it with: pip install nvidia-ml-py."
                ) from error
        if self._visible is not None and self._visible.strip() in ("", "-1"):
            raise MeasureError(f"NVML: CUDA_VISIBLE_DEVICES hides every GPU. {HINT}.")
        nvml = self._library
        try:
            nvml.nvmlInit()
            self._device = self._board()
            self._refuse_parts()
            self._power = self._readable_power()
            self._counters = self._live_counter()
        except nvml.NVMLError as error:
            raise MeasureError(
                f"NVML: no GPU can be reached ({error}). Install the NVIDIA driver, or use a runtime on the CPU."
            ) from error
        if self._counters is None and self._power == "none":
            raise MeasureError(f"NVML: the GPU tells neither energy nor power. {HINT}.")

    def _board(self) -> Any:
        """Handle of the GPU that CUDA calls its first."""
        nvml = self._library
        count = nvml.nvmlDeviceGetCount()
        if count == 0:
            raise MeasureError(f"NVML: there is no NVIDIA GPU. {HINT}.")
        first = "0" if self._visible is None else self._visible.split(",")[0].strip()
        if first.startswith("MIG-"):
            raise MeasureError(
                f"NVML: CUDA_VISIBLE_DEVICES names a MIG slice, whose energy has no counter of its own. {HINT}."
            )
        if first.startswith("GPU-"):
            return nvml.nvmlDeviceGetHandleByUUID(first)
        if not first.isdigit():
            raise MeasureError(f"NVML: CUDA_VISIBLE_DEVICES begins with '{first}', which names no GPU. {HINT}.")
        boards = {_text(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)}
        if len(boards) > 1 and not self._by_bus:
            raise MeasureError(
                f"NVML: the GPUs differ ({', '.join(sorted(boards))}), and CUDA may count them in another order than "
                "NVML. Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name one in CUDA_VISIBLE_DEVICES by its UUID."
            )
        return nvml.nvmlDeviceGetHandleByIndex(int(first))

    def _refuse_parts(self) -> None:
        """Refuse a board that is cut into parts, since its counter shows the whole."""
        nvml, device = self._library, self._device
        try:
            if nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
                raise MeasureError(
                    f"NVML: the GPU is cut into MIG slices, and the counter shows the whole board. {HINT}."
                )
        except nvml.NVMLError_NotSupported:
            pass  # boards that know no MIG are whole
        try:
            mode = nvml.nvmlDeviceGetVirtualizationMode(device)
        except nvml.NVMLError_NotSupported:
            return
        if mode == nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            raise MeasureError(
                f"NVML: this is a virtual GPU (vGPU), whose share of the board's energy is not known. {HINT}."
            )
        if mode in (nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU, nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA):
            raise MeasureError(f"NVML: this host lends parts of the board to virtual machines (vGPU). {HINT}.")

    def _readable_power(self) -> str:
        """Which power can be read: ``instant``, ``average`` or ``none``."""
        for kind in ("instant", "average"):
            try:
                self._power_mw(kind)
            except self._library.NVMLError:  # this driver or board does not tell it; the next kind may be there
                continue
            return kind
        return "none"

    def _live_counter(self) -> Counters | None:
        """The board's counter, None where there is none that moves."""
        try:
            self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)
        except self._library.NVMLError_NotSupported:
            return None
        board = Counter("board", "mj", 1e-3, self.counter_mj)
        return Counters(self.name, (board,), STILL_S) if moving([board], self._pause, STILL_S) else None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """What the evidence says about it."""
        sampled = f"{self._power} power every {POLL_S} s, trapezoid rule"
        method = sampled if self._counters is None else "total energy counter"
        parameters = {
            "board": _text(self._library.nvmlDeviceGetName(self._device)),
            "driver": _text(self._library.nvmlSystemGetDriverVersion()),
            "power": self._power,
            "poll_s": POLL_S,
        }
        return facts_of(self, method, refused, parameters)

    def start(self) -> None:
        """Read the counter and begin to sample power."""
        if self._device is None:
            self._open()
        if self._counters is None:
            self._sampled.start()
            return
        with contextlib.suppress(MeasureError):  # the counter then stands unchecked, as its guard will say
            self._sampled.start()
        self._counters.start()

    def stop(self, usage: Usage) -> Reading:
        """Read the counter again and integrate the samples."""
        if self._counters is None:
            return self._sampled.stop()
        counted = self._counters.stop()
        raw = {**counted.raw, "counter_j": counted.energy_j}
        with contextlib.suppress(MeasureError):  # as above
            raw |= self._sampled.stop().raw
        return Reading(counted.energy_j, raw)

    def counter_mj(self) -> int:
        """The energy counter now, in mJ.

        Raises:
            MeasureError: it can't be read any more.
        """
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device))
        except self._library.NVMLError as error:
            raise MeasureError(f"The meter nvml failed midway: {error}.") from error

    def _power_w(self) -> float:
        if self._power == "none":
            raise MeasureError("The meter nvml has no power to sample.")
        try:
            return self._power_mw(self._power) * 1e-3
        except self._library.NVMLError as error:
            raise MeasureError(f"The meter nvml failed midway: {error}.") from error

    def _power_mw(self, kind: str) -> int:
        nvml = self._library
        if kind == "average":
            return int(nvml.nvmlDeviceGetPowerUsage(self._device))
        field = nvml.nvmlDeviceGetFieldValues(self._device, [nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if field.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(field.nvmlReturn)
        return int(field.value.uiVal)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
