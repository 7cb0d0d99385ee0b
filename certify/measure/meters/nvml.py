"""Energy counter of an NVIDIA GPU, through NVML (module ``pynvml`` of nvidia-ml-py).

Reads: ``nvmlDeviceGetTotalEnergyConsumption`` (mJ since the driver was loaded); where a board has none, power samples
    from ``nvmlDeviceGetPowerUsage`` (mW), integrated by the trapezoid rule. Both are taken in every window where both
    exist, so that the counter can be checked against the integrated power.
Scope: board (GPU, its memory, voltage regulators), whoever uses it. Not the host.
Resolution: the counter moves every 20 to 100 ms, by board; hence windows of 5 s.
Wrap: none in practice (64 bits of mJ). It starts from 0 again when the driver is loaded anew.
Privilege: none.
Known lies: power is averaged over up to a second on recent boards and sampled only a part of the time on some (Yang,
    Adamek, Armour 2023, "Part-time Power Measurements", arXiv 2312.02741); a MIG slice or a virtual GPU shows the
    whole board or nothing, and is refused. NVML counts GPUs by PCI bus; CUDA_VISIBLE_DEVICES is followed, CUDA's own
    order is not known here.
Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from certify.errors import MeasureError
from certify.estimate import EvidenceLevel
from certify.evidence import MeterFacts
from certify.measure.meters.base import Reading, Usage

POLL_S = 0.05
HINT = "Use a runtime on the CPU, or a machine with the whole GPU"


class Nvml:
    """The energy counter of one GPU.

    Args:
        library: in place of ``pynvml``.
        visible: in place of the environment's CUDA_VISIBLE_DEVICES.
    """

    name = "nvml"
    devices = frozenset({"cuda"})
    scope = "board"
    resolution = "20 to 100 ms"
    privilege = "none"

    def __init__(self, library: Any = None, visible: str | None = None) -> None:
        self._library = library
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        self._device: Any = None
        self._has_counter = True
        self._before_mj = 0
        self._poll: _Poll | None = None

    @property
    def level(self) -> EvidenceLevel:
        """Counter, or sampled where the board has no counter."""
        return EvidenceLevel.COUNTER if self._has_counter else EvidenceLevel.SAMPLED

    def unavailable(self) -> str | None:
        """Why the GPU can't be metered, or None."""
        if self._library is None:
            try:
                self._library = importlib.import_module("pynvml")
            except ImportError:
                return "NVML: the module pynvml is not installed. Install it with: pip install nvidia-ml-py."
        if self._visible is not None and self._visible.strip() in ("", "-1"):
            return f"NVML: CUDA_VISIBLE_DEVICES hides every GPU. {HINT}."
        nvml = self._library
        try:
            nvml.nvmlInit()
            if nvml.nvmlDeviceGetCount() == 0:
                return f"NVML: there is no NVIDIA GPU. {HINT}."
            self._device = self._handle("0" if self._visible is None else self._visible.split(",")[0].strip())
        except nvml.NVMLError as error:
            return f"NVML: no GPU can be reached ({error}). Install the NVIDIA driver, or use a runtime on the CPU."
        return self._partitioned() or self._probe()

    def _handle(self, visible: str) -> Any:
        if visible.startswith(("GPU-", "MIG-")):
            return self._library.nvmlDeviceGetHandleByUUID(visible)
        return self._library.nvmlDeviceGetHandleByIndex(int(visible) if visible.isdigit() else 0)

    def _partitioned(self) -> str | None:
        nvml = self._library
        if self._visible is not None and self._visible.startswith("MIG-"):
            return f"NVML: CUDA_VISIBLE_DEVICES names a MIG slice, whose energy has no counter of its own. {HINT}."
        try:
            if nvml.nvmlDeviceGetMigMode(self._device)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
                return f"NVML: the GPU is cut into MIG slices, and the counter shows the whole board. {HINT}."
        except nvml.NVMLError_NotSupported:
            pass  # boards that know no MIG are whole
        try:
            mode = nvml.nvmlDeviceGetVirtualizationMode(self._device)
        except nvml.NVMLError_NotSupported:
            return None
        if mode == nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
            return f"NVML: this is a virtual GPU (vGPU), whose share of the board's energy is not known. {HINT}."
        return None

    def _probe(self) -> str | None:
        nvml = self._library
        try:
            nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
            self._has_counter = True
        except nvml.NVMLError_NotSupported:
            self._has_counter = False
        try:
            nvml.nvmlDeviceGetPowerUsage(self._device)
        except nvml.NVMLError as error:
            if not self._has_counter:
                return f"NVML: the GPU tells neither energy nor power ({error}). {HINT}."
        return None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """What the evidence says about it."""
        method = "total energy counter" if self._has_counter else f"power every {POLL_S} s, trapezoid rule"
        return MeterFacts(
            name=self.name,
            level=self.level.value,
            scope=self.scope,
            method=method,
            relative_error=None,
            refused=dict(refused),
            parameters={
                "board": _text(self._library.nvmlDeviceGetName(self._device)),
                "driver": _text(self._library.nvmlSystemGetDriverVersion()),
                "poll_s": POLL_S,
            },
        )

    def start(self) -> None:
        """Read the counter and begin to sample power."""
        self._poll = _Poll(self._library, self._device)
        if self._has_counter:
            self._before_mj = self._counter_mj()

    def stop(self, usage: Usage) -> Reading:
        """Read the counter again and integrate the samples."""
        if self._poll is None:
            raise MeasureError("The meter nvml was stopped before it was started.")
        after_mj = self._counter_mj() if self._has_counter else 0
        integrated = self._poll.finish()
        self._poll = None
        raw = {} if integrated is None else {"integrated_j": integrated}
        if self._has_counter:
            raw |= {"board_before_mj": float(self._before_mj), "board_after_mj": float(after_mj)}
            return Reading((after_mj - self._before_mj) * 1e-3, raw)
        if integrated is None:
            raise MeasureError("The meter nvml failed midway: the GPU gave no power sample.")
        return Reading(integrated, raw)

    def _counter_mj(self) -> int:
        try:
            return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device))
        except self._library.NVMLError as error:
            raise MeasureError(f"The meter nvml failed midway: {error}.") from error


class _Poll:
    """Samples power in a thread until it is told to finish."""

    def __init__(self, library: Any, device: Any) -> None:
        self._library = library
        self._device = device
        self._samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._sample()
        self._thread.start()

    def _sample(self) -> bool:
        try:
            power_w = self._library.nvmlDeviceGetPowerUsage(self._device) * 1e-3
        except self._library.NVMLError:  # no power reading: integrated energy is then unknown, and said to be
            return False
        self._samples.append((time.perf_counter(), power_w))
        return True

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            if not self._sample():
                return

    def finish(self) -> float | None:
        """Joules since the beginning, None where power can't be read."""
        self._over.set()
        self._thread.join()
        if not self._sample() or len(self._samples) < 2:
            return None
        pairs = zip(self._samples, self._samples[1:], strict=False)
        return sum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in pairs)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
