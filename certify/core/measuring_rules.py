"""The constants by which an edition has models measured; measuring and judging share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MeasuringRules:
    """Statistics and plan of a measurement; what each constant means stands beside it in the edition's file.

    Attributes:
        edition: name of the edition whose rules they are.
    """

    edition: str
    confidence: float
    batch_factor: float
    assumed_autocorrelation: float
    minimum_blocks: int
    pilot_blocks: int
    maximum_blocks: int
    null_blocks: int
    largest_null_blocks: int
    null_time_s: float
    null_retries: int
    null_tolerance: float
    settings_windows: int
    yardstick_windows: int
    window_s: Mapping[str, float]
    longest_window_s: float
    shortest_window_s: Mapping[str, float]
    latency_calls: int
    latency_time_s: float

    def window_seconds(self, meter: str | None) -> float:
        """How long a window lasts at least, in seconds, with a meter of that name (None: no meter)."""
        return _of_meter(self.window_s, meter)

    def shortest_window_seconds(self, meter: str | None) -> float:
        """Length in seconds below which a window is too short for a meter of that name."""
        return _of_meter(self.shortest_window_s, meter)


def _of_meter(lengths: Mapping[str, float], meter: str | None) -> float:
    """The longest that a part of a sum (``nvml+rapl-powercap``) or a recorded meter (``replay:nvml``) asks for."""
    parts = (meter or "default").removeprefix("replay:").split("+")
    return max(lengths.get(part, lengths["default"]) for part in parts)
