"""Meters by name, best choice for a device; an adapter is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from certify.errors import MeasureError
from certify.measure.meters.base import Meter
from certify.suggest import unknown_name

METERS = {
    "rapl": "certify.measure.meters.rapl:Rapl",
    "nvml": "certify.measure.meters.nvml:Nvml",
    "vcpu-watts": "certify.measure.meters.vcpu_watts:VcpuWatts",
}

COVERED = {"cpu": "the processor", "cuda": "the GPU"}


@dataclass(frozen=True)
class Choice:
    """The best meter for a device, None where there is none, and why each better one could not be used."""

    meter: Meter | None
    refused: dict[str, str]


def get(name: str) -> Meter:
    """The meter of a name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in METERS:
        raise unknown_name("meter", name, METERS, "See leanmark meters.")
    module, attribute = METERS[name].split(":")
    meter: Meter = getattr(importlib.import_module(module), attribute)()
    return meter


def require(name: str, device: str) -> Choice:
    """The meter that was asked for by name, and no other.

    Raises:
        UsageError: there is none of that name.
        MeasureError: it can't be used here.
    """
    choice = choose(device, [get(name)])
    if choice.meter is None:
        raise MeasureError(choice.refused[name])
    return choice


def choose(device: str, candidates: Sequence[Meter] | None = None) -> Choice:
    """Pick the meter with the best evidence level among those that cover a device and can be read.

    Args:
        device: kind of device that the runtime computes on, ``cpu`` or ``cuda``.
        candidates: meters to choose from; None for all.
    """
    meters = [get(name) for name in METERS] if candidates is None else list(candidates)
    refused = {}
    usable = []
    for meter in meters:
        if device not in meter.devices:
            covered = " and ".join(COVERED[kind] for kind in sorted(meter.devices))
            refused[meter.name] = f"{meter.name} covers {covered}; the runtime computes on {COVERED[device]}."
        elif (reason := meter.unavailable()) is not None:
            refused[meter.name] = reason
        else:
            usable.append(meter)
    best = min(usable, key=lambda meter: meter.level.rank, default=None)
    return Choice(best, refused)
