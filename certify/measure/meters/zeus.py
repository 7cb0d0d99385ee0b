"""Energy of AMD GPUs, Apple silicon and Jetson boards, through zeus (package ``zeus``, extra ``zeus``).

Reads: on Linux the first GPU visible to ROCm, by AMD SMI's energy counter if zeus finds it plausible, otherwise by
    power samples integrated by the trapezoid rule; on a Jetson the rail of the whole module, which zeus samples in a
    separate process; on macOS the energy of processor, memory, GPU and neural engine reported by the system.
Scope: board (AMD), module (Jetson), package (Apple). Not the host of an AMD GPU.
Resolution: 1 mJ, as rounded by zeus; on a Jetson samples every 0.1 s.
Wrap: none; 64 bits.
Privilege: none; on AMD membership in the groups render and video.
Known lies: zeus returns 0.0 J if a device has no counter, and for a window shorter than the counter's step; here the
    devices are read directly, and a missing or dead counter is refused. AMD's counter is wrong by a constant factor on
    some boards (https://github.com/ROCm/amdsmi/issues/38), where zeus falls back to power. One half of an MI250 reports
    the power of both halves and the other half none. NVIDIA GPUs are left to the meter nvml.
Source: https://ml.energy/zeus/
"""

from __future__ import annotations

import importlib
import queue
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from certify.core.errors import MeasureError, MissingExtra
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import facts_of
from certify.measure.meters.counters import Counter, Counters, moving
from certify.measure.meters.lazy_meter import Opened
from certify.measure.meters.sampling import SampledPower

POLL_S = 0.1
STILL_S = 0.5
TEGRA = "etc/nv_tegra_release"

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Kind:
    """What zeus can read on one kind of machine.

    Attributes:
        called: name used in sentences.
        scope: scope of the meter.
        devices: devices that it covers.
        level: evidence level of what zeus calls cumulative energy.
        parts: figures of a system on a chip that are added up; the first is required.
    """

    called: str
    scope: str
    devices: frozenset[str]
    level: EvidenceLevel
    parts: tuple[str, ...] = ()


AMD = Kind("AMD GPU", "board", frozenset({"cuda"}), EvidenceLevel.COUNTER)
JETSON = Kind("Jetson", "module", frozenset({"cpu", "cuda"}), EvidenceLevel.SAMPLED, ("total_energy_mj",))
APPLE = Kind(
    "Apple silicon",
    "package",
    frozenset({"cpu"}),
    EvidenceLevel.COUNTER,
    ("cpu_total_mj", "dram_mj", "gpu_mj", "gpu_sram_mj", "ane_mj"),
)


class Zeus(Opened["Counters | SampledPower"]):
    """Meter of one zeus device.

    Args:
        load: function that imports a module by name.
        system: platform, as in ``sys.platform``.
        root: root of the file system.
        pause: function that waits a number of seconds, while a counter should move.
    """

    name = "zeus"
    resolution = "1 mJ, or 0.1 s"
    privilege = "none, or group render"

    def __init__(
        self,
        load: Callable[[str], Any] = importlib.import_module,
        system: str = sys.platform,
        root: Path = Path("/"),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._load = load
        self._pause = pause
        self._kind = APPLE if system == "darwin" else JETSON if (root / TEGRA).exists() else AMD
        self.scope = self._kind.scope
        self.devices = self._kind.devices
        self._failures: tuple[type[Exception], ...] = ()

    @property
    def level(self) -> EvidenceLevel:
        """Evidence level of zeus's figure; sampled if AMD's counter is not plausible."""
        return EvidenceLevel.SAMPLED if isinstance(self._source, SampledPower) else self._kind.level

    def _open(self) -> Counters | SampledPower:
        try:
            library, errors = self._load("zeus.device"), self._load("zeus.exception")
        except ImportError as error:
            raise MissingExtra("The meter zeus", "zeus") from error
        # queue.Empty occurs on a Jetson, where zeus waits for a sampling process; its backends raise the others.
        self._failures = (errors.ZeusBaseError, OSError, ValueError, RuntimeError, queue.Empty)
        try:
            source = self._amd(library) if self._kind is AMD else self._on_chip(library)
            if isinstance(source, SampledPower):
                return source
            alive = moving([source], self._pause, STILL_S)
        except self._failures as error:
            reason = str(error).rstrip(".")
            raise MeasureError(f"zeus: no {self._kind.called} is readable ({reason}). Use another meter.") from error
        if not alive:
            raise MeasureError(
                f"zeus: the energy counter of the {self._kind.called} does not move; zeus itself would report 0.0 J. "
                "Use another meter."
            )
        return Counters(self.name, alive, STILL_S)

    def _amd(self, library: Any) -> Counter | SampledPower:
        gpus = library.get_gpus()
        if type(gpus).__name__ != "AMDGPUs":
            raise MeasureError("zeus: the GPU is from NVIDIA, which another meter reads. Use --meter nvml.")
        if gpus.supports_get_total_energy_consumption(0):
            return Counter("gpu", "mj", 1e-3, self._guarded(lambda: int(gpus.get_total_energy_consumption(0))))
        # A running GPU draws power, so 0 means that the driver reports nothing.
        if gpus.get_instant_power_usage(0) <= 0:
            raise MeasureError("zeus: the AMD GPU reports neither energy nor power. Use another meter.")
        read_w = self._guarded(lambda: float(gpus.get_instant_power_usage(0)) * 1e-3)
        return SampledPower(self.name, read_w, POLL_S)

    def _on_chip(self, library: Any) -> Counter:
        soc, parts = library.get_soc(), self._kind.parts

        def read() -> int:
            energy = soc.get_total_energy_consumption()
            if getattr(energy, parts[0]) is None:
                raise ValueError(f"it does not report {parts[0]}")
            # Parts that this chip does not have are None; the first one is required above.
            return int(sum(getattr(energy, part) or 0 for part in parts))

        return Counter(self._kind.scope, "mj", 1e-3, self._guarded(read))

    def _guarded(self, read: Callable[[], T]) -> Callable[[], T]:
        """Return a reader whose failures are sentences."""

        def guarded() -> T:
            try:
                return read()
            except self._failures as error:
                raise MeasureError(f"The meter {self.name} failed during a window: {error}.") from error

        return guarded

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
        sampled = isinstance(self._source, SampledPower)
        how = f"power every {POLL_S} s, trapezoid rule," if sampled else "cumulative energy"
        method = f"{how} of the {self._kind.called}, by zeus"
        return facts_of(self, method, refused, {"zeus": str(self._load("zeus").__version__), "poll_s": POLL_S})
