"""Meters by name, and the best meter for a device; adapters are imported on demand."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from certify.core.errors import MeasureError, UsageError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.core.registry import Registry
from certify.measure.meters.base import Meter
from certify.measure.meters.combined_meter import PLUS, Sum

METERS = Registry(
    "meter",
    "leanmark.meters",
    {
        "nvml": "certify.measure.meters.nvml:Nvml",
        "rapl-powercap": "certify.measure.meters.rapl_powercap:RaplPowercap",
        "rapl-perf": "certify.measure.meters.rapl_perf:RaplPerf",
        "hwmon": "certify.measure.meters.hwmon:Hwmon",
        "zeus": "certify.measure.meters.zeus:Zeus",
        "vcpu-watts": "certify.measure.meters.vcpu_watts:VcpuWatts",
        "replay": "certify.measure.meters.replay:Replay",
    },
    "See leanmark meters.",
    Meter,
)
"""Of two built-in meters with the same evidence level, the first is chosen. A third-party meter is a plug-in: it must
be named to be used, and counts as sampled at most."""

WITH_ARGUMENT = ("hwmon", "replay")
"""Meters that take an argument after a colon."""
NEVER_CHOSEN = ("replay",)
RECORD = "record:"
COVERED = {"cpu": "the processor", "cuda": "the GPU"}


@dataclass(frozen=True)
class Choice:
    """The best meter for a device, or None, and why each better meter could not be used."""

    meter: Meter | None
    refused: dict[str, str]

    def facts(self) -> MeterFacts | None:
        """Return the meter's facts for the evidence, with the digest of its code if it is a plug-in."""
        return None if self.meter is None else replace(self.meter.facts(self.refused), code=code(self.meter))


def code(meter: Meter) -> str | None:
    """Return the hex SHA-256 of the source of a plug-in, or of the plug-ins in a sum; None if there are none.

    Raises:
        MeasureError: the source cannot be read.
    """
    try:
        content = [source.read_bytes() for source in sorted(set(_plug_in_sources(meter)))]
    except (OSError, TypeError) as error:  # TypeError: a class defined outside any file
        raise MeasureError(
            f"The source of the meter {meter.name} cannot be read ({error}), so its digest cannot be computed; define "
            "its class in a .py file."
        ) from error
    return hashlib.sha256(b"".join(content)).hexdigest() if content else None


def _plug_in_sources(meter: Meter) -> Iterator[Path]:
    """Yield the source files of a meter, or of its parts, outside this package."""
    inner = [*getattr(meter, "parts", ()), *filter(None, [getattr(meter, "meter", None)])]
    if type(meter).__module__.startswith(f"{__name__}."):
        for part in inner:
            yield from _plug_in_sources(part)
    else:
        yield Path(inspect.getfile(type(meter)))


def get(name: str) -> Meter:
    """Return a meter by name.

    A name is ``nvml``, ``hwmon:VDD_IN``, ``replay:PATH``, a plug-in's name or ``package.module:Name``, or a sum such as
    ``nvml+rapl-powercap``.

    Raises:
        UsageError: the name is unknown, the meter is broken, or two parts of a sum cover the same device.
        MeasureError: the source of a plug-in cannot be read.
    """
    base, colon, argument = name.partition(":")
    if colon and base in WITH_ARGUMENT:
        if not argument:
            raise UsageError(f"The meter '{name}' must have an argument after the colon. See leanmark meters.")
        named: Meter = METERS.load(base).of(argument)  # type: ignore[attr-defined]
        return named
    if PLUS in name:
        return Sum([get(part) for part in name.split(PLUS)])
    meter: Meter = METERS.make(name)
    if name not in METERS.own:
        METERS.check_name(name, meter.name)
        # Called for its error: a plug-in whose digest cannot be computed is refused before the windows, not after.
        code(meter)
    return meter


def require(name: str, device: str) -> Choice:
    """Return the meter of a name, and no other; ``record:PATH`` records the best one to a new trace.

    Raises:
        UsageError: the name is unknown.
        MeasureError: the meter cannot be used here.
    """
    if name.startswith(RECORD):
        return _recorded(Path(name.removeprefix(RECORD)), device)
    meter = get(name)
    choice = choose(device, [meter])
    if choice.meter is None:
        raise MeasureError(choice.refused[meter.name])
    return choice


def _recorded(path: Path, device: str) -> Choice:
    from certify.measure.meters.replay import Recording

    best = choose(device)
    if best.meter is None:
        raise MeasureError(f"There is no meter for {COVERED[device]} to record. See leanmark meters.")
    recording = Recording(best.meter, path)
    if (reason := recording.unavailable()) is not None:
        raise MeasureError(reason)
    return Choice(recording, best.refused)


def choose(device: str, candidates: Sequence[Meter] | None = None) -> Choice:
    """Choose the meter with the best evidence level among those that cover a device and are readable.

    A meter that covers only the GPU is combined with the best one that reads the processor, if there is one; a modelled
    figure is never added to a reading, which it would weaken.

    Args:
        device: kind of device that the runtime computes on, ``cpu`` or ``cuda``.
        candidates: meters to choose from; None for all built-in meters except those that are never chosen
            automatically.
    """
    meters = [get(name) for name in METERS.own if name not in NEVER_CHOSEN] if candidates is None else list(candidates)
    refused = {}
    usable = []
    for meter in meters:
        # On a GPU, a meter that reads the host is not refused, because its joules are added below.
        if device not in meter.devices and not (device == "cuda" and _reads(meter)):
            refused[meter.name] = _elsewhere(meter, device)
        elif (reason := meter.unavailable()) is not None:
            refused[meter.name] = reason
        else:
            usable.append(meter)
    best = _strongest([meter for meter in usable if device in meter.devices])
    if device == "cuda" and best is not None and "cpu" not in best.devices:
        host = _strongest([meter for meter in usable if "cuda" not in meter.devices])
        return Choice(best if host is None else Sum([best, host]), refused)
    refused |= {meter.name: _elsewhere(meter, device) for meter in usable if device not in meter.devices}
    return Choice(best, refused)


def _strongest(meters: Sequence[Meter]) -> Meter | None:
    return min(meters, key=lambda meter: meter.level.rank, default=None)


def _reads(meter: Meter) -> bool:
    return meter.level.rank < EvidenceLevel.MODELLED.rank


def _elsewhere(meter: Meter, device: str) -> str:
    covered = " and ".join(COVERED[kind] for kind in sorted(meter.devices))
    return f"{meter.name} covers {covered}; the runtime computes on {COVERED[device]}."
