"""Energy counter of an NVIDIA GPU, through NVML (module ``pynvml`` of nvidia-ml-py).

Reads: ``nvmlDeviceGetTotalEnergyConsumption`` (mJ since the driver was loaded). Power is sampled in parallel and
    integrated by the trapezoid rule, to check the counter; if a board has no counter, or a dead one, the integrated
    power is the result. Power is the field NVML_FI_DEV_POWER_INSTANT if the driver has it, otherwise
    ``nvmlDeviceGetPowerUsage`` (mW).
Scope: board (GPU, its memory, voltage regulators), for all processes. Not the host.
Resolution: the counter moves every 20 to 100 ms, by board (97.8 to 102.5 ms on an H100 with driver 580.159.04); hence
    windows of 5 s.
Wrap: never in practice (64 bits of mJ). Reloading the driver resets it to 0, which is an error.
Privilege: none.
Known lies: ``nvmlDeviceGetPowerUsage`` is averaged over up to a second on recent boards, and some boards sample power
    only part of the time (Yang, Adamek, Armour 2023, "Part-time Power Measurements", arXiv 2312.02741); a MIG slice or
    a virtual GPU shows the whole board or nothing, and is refused. NVML orders GPUs by PCI bus, CUDA by speed: with
    different boards and no CUDA_DEVICE_ORDER their indices may refer to different GPUs, which is refused.
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
"""Longer than the update interval of any board's counter, in seconds."""
HINT = "Use a runtime on the CPU, or a machine with the whole GPU"


class Nvml:
    """Meter of one GPU: its energy counter and its power.

    Args:
        library: replacement for ``pynvml``.
        environment: replacement for the process's environment, from which CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER
            are read.
        pause: function that waits a number of seconds, while the counter should move.
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
        """Counter, or sampled if the board has no live counter."""
        sampled = self._counters is None and self._power != "none"
        return EvidenceLevel.SAMPLED if sampled else EvidenceLevel.COUNTER

    def unavailable(self) -> str | None:
        """Return why the GPU cannot be metered, or None."""
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
                f"NVML: no GPU is accessible ({error}). Install the NVIDIA driver, or use a runtime on the CPU."
            ) from error
        if self._counters is None and self._power == "none":
            raise MeasureError(f"NVML: the GPU reports neither energy nor power. {HINT}.")

    def _board(self) -> Any:
        """Return the handle of CUDA's first GPU."""
        nvml = self._library
        count = nvml.nvmlDeviceGetCount()
        if count == 0:
            raise MeasureError(f"NVML: there is no NVIDIA GPU. {HINT}.")
        first = "0" if self._visible is None else self._visible.split(",")[0].strip()
        if first.startswith("MIG-"):
            raise MeasureError(
                f"NVML: CUDA_VISIBLE_DEVICES names a MIG slice, which has no energy counter of its own. {HINT}."
            )
        if first.startswith("GPU-"):
            return nvml.nvmlDeviceGetHandleByUUID(first)
        if not first.isdigit():
            raise MeasureError(f"NVML: CUDA_VISIBLE_DEVICES begins with '{first}', which is not a GPU. {HINT}.")
        # CUDA orders by speed unless told otherwise, NVML by bus; equal boards have one order in both.
        boards = {_text(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)}
        if len(boards) > 1 and not self._by_bus:
            raise MeasureError(
                f"NVML: the GPUs differ ({', '.join(sorted(boards))}), and CUDA may order them differently from NVML. "
                "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name one in CUDA_VISIBLE_DEVICES by its UUID."
            )
        return nvml.nvmlDeviceGetHandleByIndex(int(first))

    def _refuse_parts(self) -> None:
        """Refuse a partitioned board, since its counter covers the whole board."""
        nvml, device = self._library, self._device
        try:
            if nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
                raise MeasureError(
                    f"NVML: the GPU is partitioned into MIG slices, but the counter covers the whole board. {HINT}."
                )
        except nvml.NVMLError_NotSupported:
            pass  # boards without MIG are not partitioned
        try:
            mode = nvml.nvmlDeviceGetVirtualizationMode(device)
        except nvml.NVMLError_NotSupported:
            return
        if mode == nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            raise MeasureError(
                f"NVML: this is a virtual GPU (vGPU), whose share of the board's energy is unknown. {HINT}."
            )
        if mode in (nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU, nvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA):
            raise MeasureError(f"NVML: this host shares the board with virtual machines (vGPU). {HINT}.")

    def _readable_power(self) -> str:
        """Return which kind of power is readable: ``instant``, ``average`` or ``none``."""
        # Average power lags by up to a second and would smear one arm's window into the other's.
        for kind in ("instant", "average"):
            try:
                self._power_mw(kind)
            except self._library.NVMLError:  # not reported by this driver or board; try the next kind
                continue
            return kind
        return "none"

    def _live_counter(self) -> Counters | None:
        """Return the board's counter, or None if it has no live one."""
        try:
            self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)
        except self._library.NVMLError_NotSupported:
            return None
        board = Counter("board", "mj", 1e-3, self.counter_mj)
        # A counter that stands still is dead, and its windows would read 0 J.
        return Counters(self.name, (board,), STILL_S) if moving([board], self._pause, STILL_S) else None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
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
        """Read the counter and start sampling power."""
        if self._device is None:
            self._open()
        if self._counters is None:
            self._sampled.start()
            return
        # Sampling starts before the counter and ends after it, so its own start and end are outside the counted joules.
        with contextlib.suppress(MeasureError):  # the counter is then unchecked, which its guard reports
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
        """Return the current value of the energy counter in mJ.

        Raises:
            MeasureError: it can no longer be read.
        """
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device))
        except self._library.NVMLError as error:
            raise MeasureError(f"The meter nvml failed during a window: {error}.") from error

    def _power_w(self) -> float:
        if self._power == "none":
            raise MeasureError("The meter nvml cannot sample power, since the GPU does not report it.")
        try:
            return self._power_mw(self._power) * 1e-3
        except self._library.NVMLError as error:
            raise MeasureError(f"The meter nvml failed during a window: {error}.") from error

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
