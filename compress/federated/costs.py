"""Costs of one party in a round: CPU-seconds of this process, and joules from the best available meter."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from certify.core.errors import MeasureError
from certify.core.federation import Spent
from certify.core.federation.fields import Level
from certify.measure.meters import choose
from certify.measure.meters.base import Meter, Usage


@dataclass
class Bill:
    """Costs of a block, filled in when it ends.

    Attributes:
        spent: CPU-seconds and joules.
    """

    spent: Spent = Spent(0.0)


class Spending:
    """Meter of blocks of code; it is chosen once, since finding one takes longer than a round.

    Args:
        meter: meter to read; by default the best one for the processor.

    Example:
        >>> with Spending().measured() as bill:
        ...     total = sum(range(1000))
        >>> bill.spent.cpu_s >= 0
        True
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self._meter = meter or choose("cpu").meter

    @contextlib.contextmanager
    def measured(self) -> Iterator[Bill]:
        """Measure a block of this process."""
        bill = Bill()
        if self._meter is not None:
            self._meter.start()
        wall, cpu = time.monotonic(), time.process_time()
        try:
            yield bill
        finally:
            cpu_s = time.process_time() - cpu
            bill.spent = self._read(Usage(time.monotonic() - wall, cpu_s), cpu_s)

    def _read(self, usage: Usage, cpu_s: float) -> Spent:
        if self._meter is None:
            return Spent(cpu_s)
        try:
            joules = self._meter.stop(usage).energy_j
        except MeasureError:
            return Spent(cpu_s)  # unknown is not zero
        return Spent(cpu_s, joules, cast(Level, self._meter.level.value))
