"""Cost of a step of a job in seconds and joules."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from certify.core.errors import MeasureError
from certify.core.estimate import Estimate
from certify.measure.meters import choose
from certify.measure.meters.base import Meter, Usage


@dataclass(eq=False)  # by identity, since nested blocks start with equal values
class StepCost:
    """Time and energy of a ``with metered()`` block; filled when it ends.

    Attributes:
        seconds: wall time, including that of an earlier process whose work was resumed here.
        energy: gross joules by the best meter for the device; None without a meter, if it could not be read at the end,
            or if another process did part of the work unmetered.
        unmetered: True if another process did part of the work.
        cpu_s: CPU-seconds of this process; None if another process did part of the work.
        this_process_only: see :func:`metered`.
    """

    seconds: float = 0.0
    energy: Estimate | None = None
    unmetered: bool = False
    cpu_s: float | None = None
    this_process_only: bool = False

    def energy_json(self) -> dict[str, Any] | None:
        """Return the lineage's field ``energy_j``."""
        return None if self.energy is None else self.energy.to_json()


_open: list[StepCost] = []


@contextlib.contextmanager
def metered(device: str = "cpu", *, this_process_only: bool = False) -> Iterator[StepCost]:
    """Measure the cost of a block: joules by the best meter for a device, or modelled from this process' CPU time.

    Args:
        device: kind of device that the block computes on, ``cpu`` or ``cuda`` (with its host processor).
        this_process_only: leave out what an earlier process did of resumed work, which the caller has on record.
    """
    cost = StepCost(this_process_only=this_process_only)
    meter = choose(device).meter
    if meter is not None:
        meter.start()
    wall, cpu = time.monotonic(), time.process_time()
    _open.append(cost)
    try:
        yield cost
    finally:
        _open.remove(cost)
        here, cpu_s = time.monotonic() - wall, time.process_time() - cpu
        cost.seconds += here
        energy = None if meter is None else _read(meter, Usage(here, cpu_s))
        cost.energy, cost.cpu_s = (None, None) if cost.unmetered else (energy, cpu_s)


def _read(meter: Meter, usage: Usage) -> Estimate | None:
    """Return the reading of a meter, or None if it can no longer be read, which must not lose the work."""
    try:
        joules = meter.stop(usage).energy_j
    except MeasureError:
        return None
    facts = meter.facts({})
    # The error of a modelled meter is a factor, in either direction.
    factor = facts.relative_error or 1.0
    method = f"{facts.name}: {facts.method}"
    return Estimate(joules, joules / factor, joules * factor, "J", 1, method, meter.level)


def mark_unmetered(seconds: float = 0.0) -> None:
    """Mark the open measurements as incomplete: another process does part of the work, or did it for ``seconds``."""
    for cost in _open:
        if seconds and cost.this_process_only:
            continue
        cost.unmetered = True
        cost.seconds += seconds
