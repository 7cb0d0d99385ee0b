"""Power and energy sensors under /sys/class/hwmon, and the choice of those that make up the whole.

Units of the files (https://www.kernel.org/doc/html/latest/hwmon/sysfs-interface.html): ``energyN_input`` uJ,
``powerN_input`` and ``powerN_average`` uW, ``inN_input`` mV, ``currN_input`` mA. The INA3221 reports voltage and
current of three channels, but not their product (https://www.kernel.org/doc/html/latest/hwmon/ina3221.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import MeasureError

HWMON = "sys/class/hwmon"
POWER_METER = "power_meter"
THREE_CHANNELS = "ina3221"
MODULE_DRIVERS = ("ina2", "ina3", "ltc2945", "ltc2947")
"""Drivers of power monitors in a supply rail; board makers add suffixes, as in ``ina260_u14``."""
WHOLE = ("VDD_IN", "POM_5V_IN")
"""Jetson rails that include all others (Orin NX and Nano, Xavier NX and TX2; the first Nano)."""
NOT_CONNECTED = "NC"


@dataclass(frozen=True)
class Sensor:
    """One sensor channel.

    Attributes:
        name: its label, or its folder, driver and number if it has none.
        driver: driver of the chip.
        energy: file of the energy counter, or None.
        factors: files whose product, times ``scale``, is the power.
        scale: watts per unit of the product.
    """

    name: str
    driver: str
    energy: Path | None
    factors: tuple[Path, ...]
    scale: float

    @property
    def scope(self) -> str:
        """``board`` for the machine's power meter, ``module`` for a monitor in a rail."""
        return "board" if self.driver == POWER_METER else "module"

    def power_w(self) -> float:
        """Return the current power in watts.

        Raises:
            OSError: a file cannot be read.
            ValueError: it does not hold a number.
        """
        product = self.scale
        for file in self.factors:
            product *= int(file.read_text())
        return product

    def energy_uj(self) -> int:
        """Return the energy counter in microjoules; raises like :meth:`power_w`."""
        if self.energy is None:
            raise ValueError(f"{self.name} has no energy counter")
        return int(self.energy.read_text())


def find(hwmon: Path) -> list[Sensor]:
    """Find all sensors of supply rails and of the machine's power meter.

    Sensors of individual devices (graphics, disks, batteries) are excluded.
    """
    found = []
    for folder in sorted(hwmon.glob("hwmon*")):
        driver = _text(folder / "name")
        if driver == POWER_METER or driver.startswith(MODULE_DRIVERS):
            found += list(_channels(folder, driver))
    return found


def choose(sensors: list[Sensor], wanted: tuple[str, ...]) -> list[Sensor]:
    """Choose the sensors whose sum is reported.

    Args:
        sensors: all sensors found.
        wanted: names given by the user; empty to find the whole automatically.

    Raises:
        MeasureError: a name does not exist, or it is unknown which sensors make up the whole.
    """
    names = ", ".join(sensor.name for sensor in sensors)
    if wanted:
        chosen = [sensor for sensor in sensors if sensor.name in wanted]
        if missing := set(wanted).difference(sensor.name for sensor in chosen):
            raise MeasureError(f"hwmon: unknown sensor {', '.join(sorted(missing))}. The sensors here are {names}.")
        return chosen
    # Try the whole machine first and single rails last: with exactly one sensor at a level nothing counts twice.
    for whole in ([s for s in sensors if s.driver == POWER_METER], [s for s in sensors if s.name in WHOLE], sensors):
        if len(whole) == 1:
            return whole
    raise MeasureError(
        f"hwmon does not say which of the sensors {names} add up to the whole, and which are part of another. Name "
        "those to add up: --meter hwmon:NAME,NAME."
    )


def _channels(folder: Path, driver: str) -> Iterator[Sensor]:
    if driver.startswith(THREE_CHANNELS):
        # Further files are shunt voltages, and curr4 is the driver's sum of the three.
        numbers = [number for number in (1, 2, 3) if (folder / f"curr{number}_input").is_file()]
    else:
        files = [path.name for path in folder.iterdir()]
        matches = [re.fullmatch(r"(?:energy|power)(\d+)_(?:input|average)", name) for name in files]
        numbers = sorted({int(match[1]) for match in matches if match})
    for number in numbers:
        label = _text(folder / f"power{number}_label") or _text(folder / f"in{number}_label")
        if label == NOT_CONNECTED or _text(folder / f"in{number}_enable") == "0":
            continue
        yield _sensor(folder, driver, number, label or f"{folder.name}/{driver}/{number}")


def _sensor(folder: Path, driver: str, number: int, name: str) -> Sensor:
    energy = folder / f"energy{number}_input"
    counter = energy if energy.is_file() else None
    for power in (folder / f"power{number}_input", folder / f"power{number}_average"):
        if power.is_file():
            return Sensor(name, driver, counter, (power,), 1e-6)
    factors = (folder / f"in{number}_input", folder / f"curr{number}_input")
    return Sensor(name, driver, counter, factors, 1e-6)


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
