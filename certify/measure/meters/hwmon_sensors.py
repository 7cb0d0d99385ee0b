"""Power and energy sensors under /sys/class/hwmon, and which of them make up the whole.

Units of the files (https://www.kernel.org/doc/html/latest/hwmon/sysfs-interface.html): ``energyN_input`` uJ,
``powerN_input`` and ``powerN_average`` uW, ``inN_input`` mV, ``currN_input`` mA. The INA3221 tells voltage and current
of three channels and leaves the product to its reader (https://www.kernel.org/doc/html/latest/hwmon/ina3221.html).
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
"""Drivers of power monitors that sit in a supply rail; board makers add endings, as in ``ina260_u14``."""
WHOLE = ("VDD_IN", "POM_5V_IN")
"""Rails of a Jetson that hold all the others (Orin NX and Nano, Xavier NX and TX2; the first Nano)."""
NOT_CONNECTED = "NC"


@dataclass(frozen=True)
class Sensor:
    """One channel.

    Attributes:
        name: its label, or its folder, driver and number where it has none.
        driver: of the chip.
        energy: file of the energy counter, None where there is none.
        factors: files whose product is the power, with ``scale`` to bring it to watts.
        scale: watts of the product's unit.
    """

    name: str
    driver: str
    energy: Path | None
    factors: tuple[Path, ...]
    scale: float

    @property
    def scope(self) -> str:
        """``board`` for the machine's own power meter, ``module`` for a monitor in a rail."""
        return "board" if self.driver == POWER_METER else "module"

    def power_w(self) -> float:
        """Watts now.

        Raises:
            OSError: a file can't be read.
            ValueError: it holds no number.
        """
        product = self.scale
        for file in self.factors:
            product *= int(file.read_text())
        return product

    def energy_uj(self) -> int:
        """The energy counter; raises as :meth:`power_w` does."""
        if self.energy is None:
            raise ValueError(f"{self.name} has no energy counter")
        return int(self.energy.read_text())


def find(hwmon: Path) -> list[Sensor]:
    """All sensors of supply rails and of the machine's power meter.

    Sensors of single devices (graphics, disks, batteries) are left out.
    """
    found = []
    for folder in sorted(hwmon.glob("hwmon*")):
        driver = _text(folder / "name")
        if driver == POWER_METER or driver.startswith(MODULE_DRIVERS):
            found += list(_channels(folder, driver))
    return found


def choose(sensors: list[Sensor], wanted: tuple[str, ...]) -> list[Sensor]:
    """Those whose sum is reported.

    Args:
        sensors: all that were found.
        wanted: names of those that the user added up; empty to find the whole without help.

    Raises:
        MeasureError: a name is not there, or the whole can't be told from its parts.
    """
    names = ", ".join(sensor.name for sensor in sensors)
    if wanted:
        chosen = [sensor for sensor in sensors if sensor.name in wanted]
        if missing := set(wanted).difference(sensor.name for sensor in chosen):
            raise MeasureError(f"hwmon: there is no sensor {', '.join(sorted(missing))} here; there are {names}.")
        return chosen
    for whole in ([s for s in sensors if s.driver == POWER_METER], [s for s in sensors if s.name in WHOLE], sensors):
        if len(whole) == 1:
            return whole
    raise MeasureError(
        f"hwmon: it is not known which of the sensors {names} add up to the whole, and which are parts of others. "
        "Name those that do, as in --meter hwmon:NAME,NAME."
    )


def _channels(folder: Path, driver: str) -> Iterator[Sensor]:
    if driver.startswith(THREE_CHANNELS):
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
