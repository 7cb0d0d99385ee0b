"""Interface of a meter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts


@dataclass(frozen=True)
class Usage:
    """Time that the worker used in a window: wall seconds, and CPU seconds of its process."""

    duration_s: float
    cpu_s: float


@dataclass(frozen=True)
class Reading:
    """Gross joules of a window, and the raw values that they follow from, by name.

    A counter records its raw values as ``<zone>_before_<unit>`` and ``<zone>_after_<unit>``; the value at which it
    wraps to 0 is the meter's parameter ``<zone>_range_<unit>``. Sampled power is recorded as ``integrated_j`` and
    ``power_samples``; if it checks a counter, the counter's joules are recorded as ``counter_j``.
    """

    energy_j: float
    raw: Mapping[str, float]


def not_started(meter: str) -> MeasureError:
    """Return the error for a window that was stopped before it was started."""
    return MeasureError(f"The meter {meter} was stopped before it was started.")


class Meter(Protocol):
    """A source of joules. One object measures one window after another.

    A third-party meter is found through an entry point ``leanmark.meters`` or as ``package.module:Name``, is
    constructed without arguments, and should pass :func:`certify.testing.check_meter`.
    """

    @property
    def name(self) -> str:
        """Name as listed by ``leanmark meters``."""

    @property
    def devices(self) -> frozenset[str]:
        """Kinds of device that it covers: ``cpu``, ``cuda`` or both."""

    @property
    def scope(self) -> str:
        """Scope of the joules (board, package, module, vcpu, wall)."""

    @property
    def resolution(self) -> str:
        """Smallest step in energy or time, in words."""

    @property
    def privilege(self) -> str:
        """Privilege required to read it, in words."""

    @property
    def level(self) -> EvidenceLevel:
        """Evidence level: how directly it observes energy."""

    def unavailable(self) -> str | None:
        """Return why it cannot be used here, in a sentence that says what to do; None if it can."""

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence; ``refused`` are the better meters and why they could not be used."""

    def start(self) -> None:
        """Start a window.

        Raises:
            MeasureError: it can no longer be read.
        """

    def stop(self, usage: Usage) -> Reading:
        """Stop the window that was started last.

        Raises:
            MeasureError: it can no longer be read, or no window was started.
        """


def facts_of(
    meter: Meter,
    method: str,
    refused: Mapping[str, str],
    parameters: Mapping[str, Any],
    relative_error: float | None = None,
) -> MeterFacts:
    """Return a meter's facts for the evidence."""
    return MeterFacts(meter.name, meter.level.value, meter.scope, method, relative_error, dict(refused), parameters)
