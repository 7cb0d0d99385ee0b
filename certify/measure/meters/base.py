"""What a meter is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts


@dataclass(frozen=True)
class Usage:
    """What the worker did in a window: wall seconds, and CPU seconds of its process."""

    duration_s: float
    cpu_s: float


@dataclass(frozen=True)
class Reading:
    """Gross joules of a window, and the raw values behind them by name.

    A counter puts down ``<zone>_before_<unit>`` and ``<zone>_after_<unit>`` as it read them; the value at which it
    starts again from 0 stands in the meter's parameters as ``<zone>_range_<unit>``. Power that was sampled puts down
    ``integrated_j`` and ``power_samples``; where it checks a counter, that counter's joules stand beside as
    ``counter_j``.
    """

    energy_j: float
    raw: Mapping[str, float]


def not_started(meter: str) -> MeasureError:
    """The error for a window that is ended and was not begun."""
    return MeasureError(f"The meter {meter} was stopped before it was started.")


class Meter(Protocol):
    """Something that tells joules. One object measures one window after the other.

    A meter of somebody else's is found by an entry point ``leanmark.meters`` or as ``package.module:Name``, is made
    without arguments, and should pass :func:`certify.testing.check_meter`.
    """

    @property
    def name(self) -> str:
        """As ``leanmark meters`` lists it."""

    @property
    def devices(self) -> frozenset[str]:
        """Kinds of device that it covers, of ``cpu`` and ``cuda``."""

    @property
    def scope(self) -> str:
        """What the joules cover (board, package, module, vcpu, wall)."""

    @property
    def resolution(self) -> str:
        """Smallest step in energy or time, in words."""

    @property
    def privilege(self) -> str:
        """What it takes to read it, in words."""

    @property
    def level(self) -> EvidenceLevel:
        """How directly it observes energy."""

    def unavailable(self) -> str | None:
        """Why it can't be used here, in a sentence that says what to do; None where it can."""

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """What the evidence says about it; ``refused`` are the better meters and why they could not be used."""

    def start(self) -> None:
        """Begin a window.

        Raises:
            MeasureError: it can't be read any more.
        """

    def stop(self, usage: Usage) -> Reading:
        """End the window that was begun last.

        Raises:
            MeasureError: it can't be read any more, or no window was begun.
        """


def facts_of(
    meter: Meter,
    method: str,
    refused: Mapping[str, str],
    parameters: Mapping[str, Any],
    relative_error: float | None = None,
) -> MeterFacts:
    """What the evidence says about a meter, in the order of its fields."""
    return MeterFacts(meter.name, meter.level.value, meter.scope, method, relative_error, dict(refused), parameters)
