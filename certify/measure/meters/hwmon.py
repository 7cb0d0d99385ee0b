"""Power sensors on the board: INA monitors in supply rails (Jetson and others), and the ACPI power meter.

Reads: under /sys/class/hwmon, ``energyN_input`` if the driver has a counter; otherwise ``powerN_input``,
    ``powerN_average``, or voltage times current (INA3221), sampled by a thread and integrated by the trapezoid rule. Of
    several sensors the one that includes the others is read; if that is unknown, the user names those to add up:
    ``--meter hwmon:VDD_GPU_SOC,VDD_CPU_CV``.
Scope: module (everything on the rail, mostly the whole compute module) or board (ACPI power meter: the machine).
Resolution: samples every 0.1 s; the chips themselves average over 1 to 1,000 ms, power meters over seconds.
Wrap: none; the drivers' counters have 64 bits.
Privilege: none for most; ``power_meter`` needs root on some machines.
Known lies: the board maker decides what a sensor covers, and only its label states it; slow averaging smears one window
    into the next, hence windows of 5 s; a Jetson's carrier board is not part of VDD_IN.
Source: https://www.kernel.org/doc/html/latest/hwmon/sysfs-interface.html and, for the rails of a Jetson, "Platform
    Power and Performance" in https://docs.nvidia.com/jetson/archives/r36.4.3/DeveloperGuide/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import facts_of
from certify.measure.meters.counters import Counter, Counters, moving
from certify.measure.meters.hwmon_sensors import HWMON, Sensor, choose, find
from certify.measure.meters.lazy_meter import Opened
from certify.measure.meters.sampling import SampledPower

POLL_S = 0.1
STILL_S = 0.5
"""Longer than the update interval of a chip's energy counter at its default settings, in seconds."""


class Hwmon(Opened["Counters | SampledPower"]):
    """Meter of the board's own sensors.

    Args:
        sensors: names of the sensors to add up; empty to find the whole automatically.
        root: root of the file system, for a fake tree.
        pause: function that waits a number of seconds, while a counter should move.
    """

    name = "hwmon"
    devices = frozenset({"cpu", "cuda"})
    resolution = "samples every 0.1 s"
    privilege = "none, or root"

    def __init__(
        self,
        sensors: tuple[str, ...] = (),
        root: Path = Path("/"),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted = sensors
        self._hwmon = root / HWMON
        self._pause = pause
        self._sensors: list[Sensor] = []

    @classmethod
    def of(cls, argument: str) -> Hwmon:
        """Return the meter for ``hwmon:NAME,NAME``."""
        return cls(tuple(name.strip() for name in argument.split(",")))

    @property
    def level(self) -> EvidenceLevel:
        """Counter if every sensor has one, otherwise sampled."""
        return EvidenceLevel.COUNTER if isinstance(self._source, Counters) else EvidenceLevel.SAMPLED

    @property
    def scope(self) -> str:
        """Module or board, depending on the sensors."""
        return " + ".join(sorted({sensor.scope for sensor in self._sensors})) or "module or board"

    def _open(self) -> Counters | SampledPower:
        try:
            found = find(self._hwmon)
            if not found:
                raise MeasureError(
                    f"hwmon: {self._hwmon} has no INA or power_meter sensor. Use a board that has one, or another "
                    "meter."
                )
            sensors = choose(found, self._wanted)
            power_w = sum(sensor.power_w() for sensor in sensors)
            counters = [Counter(s.name, "uj", 1e-6, s.energy_uj) for s in sensors if s.energy is not None]
            # Some drivers have a counter file that never moves.
            counted = len(counters) == len(sensors) and len(moving(counters, self._pause, STILL_S)) == len(sensors)
        except PermissionError as error:
            raise MeasureError(
                f"hwmon: no permission to read {error.filename}. Run as root, or grant it with: sudo chmod o+r "
                f"{error.filename}."
            ) from error
        except (OSError, ValueError) as error:
            raise MeasureError(f"hwmon: a sensor cannot be read ({error}). Use another meter.") from error
        names = ", ".join(sensor.name for sensor in sensors)
        if power_w <= 0:
            raise MeasureError(
                f"hwmon: {names} reads {power_w:g} W, which is implausible for a running machine. Use another meter."
            )
        self._sensors = sensors
        if counted:
            return Counters(self.name, tuple(counters), STILL_S)
        return SampledPower(self.name, self._power_w, POLL_S)

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
        names = ", ".join(sensor.name for sensor in self._sensors)
        counted = isinstance(self._source, Counters)
        how = "energy counters" if counted else f"power every {POLL_S} s, trapezoid rule"
        method = f"{how}, of {names}"
        parameters = {
            "drivers": sorted({sensor.driver for sensor in self._sensors}),
            "sensors_named_by_the_user": bool(self._wanted),
            "poll_s": POLL_S,
        }
        return facts_of(self, method, refused, parameters)

    def _power_w(self) -> float:
        try:
            return sum(sensor.power_w() for sensor in self._sensors)
        except (OSError, ValueError) as error:
            raise MeasureError(f"The meter {self.name} failed during a window: {error}.") from error
