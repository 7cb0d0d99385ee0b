"""Energy counters of processor packages and memory, through the kernel's performance events.

Reads: the events ``energy-pkg`` and ``energy-ram`` of the source ``power``, by perf_event_open(2), on one processor of
    each package (the source's ``cpumask``). Excluded: ``energy-cores`` and ``energy-gpu``, which are parts of the
    package, and ``energy-psys``, the whole platform. The registers are those of rapl-powercap, for users who may count
    events but not read its files.
Scope: package (all cores, caches, memory controller; also memory if there is an energy-ram), for all processes.
Resolution: 2^-32 J of arithmetic; the registers move by 15 to 61 uJ, about every millisecond.
Wrap: none; the kernel tracks the 32-bit registers and counts in 64 bits from the opening of the event.
Privilege: CAP_PERFMON, or kernel.perf_event_paranoid at 0 or below.
Known lies: those of rapl-powercap. Not every kernel's ``cpumask`` lists each counter once: some list all processors of
    a package, some one per die of an AMD package although all dies share the registers. So the first processor of each
    die is read, and on AMD the first of each package.
Source: https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-bus-event_source-devices-events
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import facts_of
from certify.measure.meters.counters import Counter, Counters, moving
from certify.measure.meters.lazy_meter import Opened
from certify.measure.meters.perf_event import PerfEvent

SOURCE = "sys/bus/event_source/devices/power"
PARANOID = "proc/sys/kernel/perf_event_paranoid"
EVENTS = {"energy-pkg": "", "energy-ram": "_dram"}
"""Suffix of the counter's name, by event."""
ONE_SET = ("AuthenticAMD", "HygonGenuine")
"""Vendors whose packages have one set of counters, however many dies."""
STILL_S = 0.05
HINT = "Use --meter vcpu-watts for a modelled figure"


class Event(Protocol):
    """An open event."""

    def read(self) -> int:
        """Return its count."""


class RaplPerf(Opened[Counters]):
    """Meter of the package counters as performance events.

    Args:
        root: root of the file system, for a fake tree.
        open_event: function that opens an event by the numbers of source, event and processor.
        pause: function that waits a number of seconds, while the counters should move.
        clock: clock in seconds.
    """

    name = "rapl-perf"
    devices = frozenset({"cpu"})
    scope = "package"
    resolution = "15 to 61 uJ, every ms"
    privilege = "CAP_PERFMON, or perf_event_paranoid at 0"
    level = EvidenceLevel.COUNTER

    def __init__(
        self,
        root: Path = Path("/"),
        open_event: Callable[[int, int, int], Event] = PerfEvent,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._events_at = root / SOURCE
        self._open_event = open_event
        self._pause = pause
        self._clock = clock
        self._still: list[str] = []

    def _open(self) -> Counters:
        if not (self._events_at / "events/energy-pkg").is_file():
            raise MeasureError(
                f"perf: {self._events_at} has no event energy-pkg (virtual machine, container, or a processor without "
                f"RAPL). {HINT}, or run on bare metal."
            )
        try:
            counters = self._events()
            alive = moving(counters, self._pause, STILL_S)
        except PermissionError as error:
            raise MeasureError(
                f"perf: no permission to count events of a whole processor ({error.strerror}; "
                f"kernel.perf_event_paranoid is {self._paranoid()}). Run as root, or set it with: sudo sysctl "
                "kernel.perf_event_paranoid=0; in a container, allow perf_event_open in its seccomp profile."
            ) from error
        except (OSError, ValueError) as error:
            raise MeasureError(f"perf: the event energy-pkg cannot be counted ({error}). {HINT}.") from error
        # Client processors expose an energy-ram event that never moves; it is left out and named, never read as 0.
        self._still = [counter.name for counter in counters if counter not in alive]
        if dead := [name for name in self._still if not name.endswith(EVENTS["energy-ram"])]:
            raise MeasureError(
                f"perf: the event energy-pkg did not move in {STILL_S} s on {', '.join(dead)} (some hypervisors expose "
                f"dead counters). {HINT}."
            )
        return Counters(self.name, alive, STILL_S, self._clock)

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
        names = ", ".join(counter.name for counter in self._ready().counters)
        method = f"sum of the performance events energy-pkg and energy-ram: {names}"
        return facts_of(self, method, refused, {"left_out_for_standing_still": self._still})

    def _events(self) -> tuple[Counter, ...]:
        kind = int(_text(self._events_at / "type"))
        found = []
        for processor in self._processors():
            for event, ending in EVENTS.items():
                file = self._events_at / "events" / event
                if not file.is_file():
                    continue
                # The scale assumes joules; with any other unit the figures would be silently wrong.
                if (unit := _text(file.with_name(f"{event}.unit"))) != "Joules":
                    raise ValueError(f"{event} is counted in {unit} instead of Joules")
                scale = float(_text(file.with_name(f"{event}.scale")))
                opened = self._open_event(kind, _config(_text(file)), processor)
                # In whole microjoules, as the powercap counters report.
                found.append(Counter(f"package-cpu{processor}{ending}", "uj", 1e-6, _microjoules(opened, scale)))
        return tuple(found)

    def _processors(self) -> list[int]:
        """Return the first processor of each set of counters."""
        one_set = any(vendor in _text(self._root / "proc/cpuinfo") for vendor in ONE_SET)
        first: dict[tuple[str, str], int] = {}
        for number in _numbers(_text(self._events_at / "cpumask")):
            topology = self._root / f"sys/devices/system/cpu/cpu{number}/topology"
            die = topology / "die_id"
            has_own = not one_set and die.is_file()  # kernels before 5.2 do not report dies
            # Some kernels list all processors of a package in the mask; the first one stands for its set of counters.
            first.setdefault((_text(topology / "physical_package_id"), _text(die) if has_own else ""), number)
        return list(first.values())

    def _paranoid(self) -> str:
        try:
            return _text(self._root / PARANOID)
        except OSError:  # hidden in some containers; the message then says so
            return "not readable"


def _text(path: Path) -> str:
    return path.read_text().strip()


def _config(text: str) -> int:
    """Parse the number of an event from ``event=0x02``."""
    name, _, value = text.partition("=")
    if name != "event":
        raise ValueError(f"the description of the event must be event=N, got {text!r}")
    return int(value, 16)


def _numbers(text: str) -> list[int]:
    """Parse a list of processors such as ``0,18-19``."""
    numbers: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        numbers += range(int(low), int(high or low) + 1)
    return numbers


def _microjoules(event: Event, scale: float) -> Callable[[], int]:
    """Return a reader of whole microjoules; a JSON number holds them exactly, unlike counts of 2^-32 J."""
    return lambda: int(event.read() * scale * 1e6)
