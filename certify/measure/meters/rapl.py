"""Energy counters of the processor packages and of memory, through the kernel's powercap files.

Reads: ``energy_uj`` of every ``package-*`` zone under /sys/class/powercap/intel-rapl:* and of the ``dram`` zones below
    them. AMD processors (Zen and later) appear under the same names. Left out: ``core`` and ``uncore``, which are parts
    of the package; ``psys``, the whole platform, which holds the packages already; and ``intel-rapl-mmio``, a second
    way to the same registers.
Scope: package (all cores, caches, memory controller; memory itself where there is a dram zone), whoever uses them.
Resolution: 15 to 61 uJ, updated about every millisecond (Intel SDM volume 3B, "RAPL interfaces").
Wrap: at ``max_energy_range_uj``, after minutes to hours; undone by subtraction modulo the range, so a window must be
    shorter than one turn. A counter that was reset can't be told from one that wrapped.
Privilege: root since CVE-2020-8694 (https://nvd.nist.gov/vuln/detail/CVE-2020-8694), or a read right on ``energy_uj``
    given by root.
Known lies: a model and no measurement before Haswell; AMD has no dram zone, so memory is missing there; idle sockets
    and neighbours on the same package count in full; noise is added where energy filtering is on (SGX); some
    hypervisors show zones whose counter stands still.
Source: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from certify.errors import MeasureError
from certify.estimate import EvidenceLevel
from certify.evidence import MeterFacts
from certify.measure.meters.base import Reading, Usage

POWERCAP = "sys/class/powercap"
PREFIX = "intel-rapl:"
PROBE_S = 0.05
HINT = "Use --meter vcpu-watts for a modelled figure"


@dataclass(frozen=True)
class _Zone:
    """One counter: its name, its file, and the number of microjoules after which it starts again from 0."""

    name: str
    counter: Path
    range_uj: int


class Rapl:
    """The powercap counters.

    Args:
        root: of the file system, for a fake tree.
        pause: waits a number of seconds, while the counters should move.
    """

    name = "rapl"
    devices = frozenset({"cpu"})
    scope = "package"
    resolution = "15 to 61 uJ, every ms"
    privilege = "root, or a read right on energy_uj"
    level = EvidenceLevel.COUNTER

    def __init__(self, root: Path = Path("/"), pause: Callable[[float], None] = time.sleep) -> None:
        self._powercap = root / POWERCAP
        self._pause = pause
        self._zones: tuple[_Zone, ...] = ()
        self._before: dict[str, int] = {}

    def unavailable(self) -> str | None:
        """Why the counters can't be read, or None."""
        if not self._powercap.is_dir():
            return f"RAPL: {self._powercap} is absent (virtual machine or container). {HINT}, or run on bare metal."
        self._zones = _zones(self._powercap)
        if not self._zones:
            return (
                f"RAPL: {self._powercap} has no package zone (the processor has none, or the module intel_rapl_msr "
                f"is not loaded). {HINT}, or try: sudo modprobe intel_rapl_msr."
            )
        try:
            before = self._read()
            self._pause(PROBE_S)
            after = self._read()
        except PermissionError as error:
            return (
                f"RAPL: {error.filename} may not be read by this user. Run as root, or give the right with: "
                f"sudo chmod o+r {self._powercap}/intel-rapl:*/energy_uj {self._powercap}/intel-rapl:*:*/energy_uj."
            )
        except (OSError, ValueError) as error:
            return f"RAPL: a counter can't be read ({error}). {HINT}."
        if all(before[name] == after[name] for name in before):
            return f"RAPL: the counters under {self._powercap} stand still (a hypervisor that shows dead ones). {HINT}."
        return None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """What the evidence says about it."""
        ranges = {f"{zone.name}_range_uj": zone.range_uj for zone in self._zones}
        return MeterFacts(
            name=self.name,
            level=self.level.value,
            scope=self.scope,
            method=f"sum of the counters {', '.join(zone.name for zone in self._zones)}, modulo their ranges",
            relative_error=None,
            refused=dict(refused),
            parameters=ranges,
        )

    def start(self) -> None:
        """Read the counters; see :meth:`certify.measure.meters.base.Meter.start`."""
        if not self._zones and (reason := self.unavailable()) is not None:
            raise MeasureError(reason)
        self._before = self._readable()

    def stop(self, usage: Usage) -> Reading:
        """Read the counters again; see :meth:`certify.measure.meters.base.Meter.stop`."""
        after = self._readable()
        used = sum((after[zone.name] - self._before[zone.name]) % zone.range_uj for zone in self._zones)
        raw = {f"{name}_before_uj": float(value) for name, value in self._before.items()}
        raw.update({f"{name}_after_uj": float(value) for name, value in after.items()})
        return Reading(used * 1e-6, raw)

    def _readable(self) -> dict[str, int]:
        try:
            return self._read()
        except (OSError, ValueError) as error:
            raise MeasureError(f"The meter rapl failed midway: {error}.") from error

    def _read(self) -> dict[str, int]:
        return {zone.name: int(zone.counter.read_text()) for zone in self._zones}


def _zones(powercap: Path) -> tuple[_Zone, ...]:
    """Package zones and the dram zones below them, each name once."""
    found: dict[str, _Zone] = {}
    packages: dict[str, str] = {}
    for folder in sorted(powercap.glob(f"{PREFIX}*")):
        name_file, range_file = folder / "name", folder / "max_energy_range_uj"
        if not name_file.is_file() or not range_file.is_file():
            continue
        label = name_file.read_text().strip()
        parts = folder.name.removeprefix(PREFIX).split(":")
        if len(parts) == 1 and label.startswith("package"):
            packages[parts[0]] = label
            name = label
        elif len(parts) == 2 and label == "dram" and parts[0] in packages:
            name = f"{packages[parts[0]]}_dram"
        else:
            continue
        # The counter runs from 0 to the range itself, so one turn is one more.
        found.setdefault(name, _Zone(name, folder / "energy_uj", int(range_file.read_text()) + 1))
    return tuple(found.values())
