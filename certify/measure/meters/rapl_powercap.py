"""Energy counters of processor packages and memory, through the kernel's powercap files.

Reads: ``energy_uj`` of every ``package-*`` zone under /sys/class/powercap/intel-rapl:* and of the ``dram`` zones below
    them. AMD processors (Zen and later) appear under the same names. Excluded: ``core`` and ``uncore``, which are parts
    of the package; ``psys``, the whole platform, which includes the packages; ``intel-rapl-mmio``, a second interface
    to the same registers; a second zone of the same name; and a dead dram zone.
Scope: package (all cores, caches, memory controller; also memory if there is a dram zone), for all processes.
Resolution: 15 to 61 uJ, updated about every millisecond (Intel SDM volume 3B, "RAPL interfaces").
Wrap: at ``max_energy_range_uj``, after minutes to hours; undone by subtraction modulo the range. A decrease that no
    wrap within the window explains is a reset, which is an error.
Privilege: root since CVE-2020-8694 (https://nvd.nist.gov/vuln/detail/CVE-2020-8694), or read permission on
    ``energy_uj`` granted by root.
Known lies: modelled, not measured, before Haswell; AMD has no dram zone, so memory is missing there; idle sockets and
    other processes on the same package count in full; energy filtering (SGX) adds noise; some hypervisors expose dead
    counters; a reset from just below the range looks like a wrap.
Source: https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
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
from certify.measure.meters.lazy_meter import Opened

POWERCAP = "sys/class/powercap"
PREFIX = "intel-rapl:"
DRAM = "_dram"
STILL_S = 0.05
"""Time in seconds within which every live counter moves many times."""
HINT = "Use --meter vcpu-watts for a modelled figure"


class RaplPowercap(Opened[Counters]):
    """Meter of the powercap counters.

    Args:
        root: root of the file system, for a fake tree.
        pause: function that waits a number of seconds, while the counters should move.
        clock: clock in seconds.
    """

    name = "rapl-powercap"
    devices = frozenset({"cpu"})
    scope = "package"
    resolution = "15 to 61 uJ, every ms"
    privilege = "root, or a read right on energy_uj"
    level = EvidenceLevel.COUNTER

    def __init__(
        self,
        root: Path = Path("/"),
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._powercap = root / POWERCAP
        self._pause = pause
        self._clock = clock
        self._still: list[str] = []

    def _open(self) -> Counters:
        if not self._powercap.is_dir():
            raise MeasureError(
                f"RAPL: {self._powercap} is absent (virtual machine or container). {HINT}, or run on bare metal."
            )
        try:
            zones = _zones(self._powercap)
            alive = moving(zones, self._pause, STILL_S)
        except PermissionError as error:
            raise MeasureError(
                f"RAPL: no permission to read {error.filename}. Run as root, or grant it with: sudo chmod o+r "
                f"{self._powercap}/intel-rapl:*/energy_uj {self._powercap}/intel-rapl:*:*/energy_uj."
            ) from error
        except (OSError, ValueError) as error:
            raise MeasureError(f"RAPL: a counter cannot be read ({error}). {HINT}.") from error
        if not zones:
            raise MeasureError(
                f"RAPL: {self._powercap} has no package zone (the processor has none, or the module intel_rapl_msr "
                f"is not loaded). {HINT}, or try: sudo modprobe intel_rapl_msr."
            )
        # Client processors expose a dram zone that never moves; it is left out and named, never read as 0.
        self._still = [zone.name for zone in zones if zone not in alive]
        if dead := [name for name in self._still if not name.endswith(DRAM)]:
            raise MeasureError(
                f"RAPL: of the counters under {self._powercap}, {', '.join(dead)} did not move in {STILL_S} s (some "
                f"hypervisors expose dead counters). {HINT}."
            )
        return Counters(self.name, alive, STILL_S, self._clock)

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
        counters = self._ready()
        method = f"sum of the counters {', '.join(c.name for c in counters.counters)}, modulo their ranges"
        return facts_of(self, method, refused, {**counters.ranges(), "left_out_for_standing_still": self._still})


def _zones(powercap: Path) -> tuple[Counter, ...]:
    """Return the package zones and the dram zones below them, each name once."""
    found: dict[str, Counter] = {}
    packages: dict[str, str] = {}
    for folder in sorted(powercap.glob(f"{PREFIX}*")):
        name_file, range_file = folder / "name", folder / "max_energy_range_uj"
        if not name_file.is_file() or not range_file.is_file():
            continue
        label = name_file.read_text().strip()
        parts = folder.name.removeprefix(PREFIX).split(":")
        # Other top-level zones, such as psys, contain the packages and would count them twice.
        if len(parts) == 1 and label.startswith("package"):
            packages[parts[0]] = label
            name = label
        elif len(parts) == 2 and label == "dram" and parts[0] in packages:
            name = packages[parts[0]] + DRAM
        else:
            continue
        # The counter runs from 0 up to and including the range, so a full turn is range + 1.
        turn = int(range_file.read_text()) + 1
        # A second zone of the same name reads the same registers; counting both would double the joules.
        found.setdefault(name, Counter(name, "uj", 1e-6, _reader(folder / "energy_uj"), turn))
    return tuple(found.values())


def _reader(path: Path) -> Callable[[], int]:
    return lambda: int(path.read_text())
