"""Constants of an edition for measuring, shared by measuring and judging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

Amount = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class MeasuringRules:
    """Constants of statistics and plan; each is explained in the edition's file.

    Attributes:
        edition: name of the edition.
    """

    edition: str
    confidence: Annotated[float, Gt(0), Lt(1)]
    batch_factor: Amount
    assumed_autocorrelation: Annotated[float, Ge(0), Lt(1)]
    minimum_blocks: Count
    pilot_blocks: Count
    maximum_blocks: Count
    null_blocks: Count
    largest_null_blocks: Count
    null_time_s: Amount
    null_retries: Count
    null_tolerance: Amount
    settings_windows: Count
    yardstick_windows: Count
    window_s: Mapping[str, Amount]
    longest_window_s: Amount
    shortest_window_s: Mapping[str, Amount]
    latency_calls: Count
    latency_time_s: Amount
    repeated_samples: Count
    repeated_share: Annotated[float, Ge(0), Lt(1)]
    changed_samples: Count
    changed_windows: Count
    changed_window_s: Amount
    simplified_samples: Count
    equal_values: Amount
    equal_outputs: Amount
    equal_answers: Amount

    def window_seconds(self, meter: str | None) -> float:
        """Return the least length of a window in seconds for a meter (None: no meter)."""
        return _of_meter(self.window_s, meter)

    def repeated_count(self, samples: int) -> int:
        """Return how many of ``samples`` test samples are scored a second time."""
        return min(samples, max(self.repeated_samples, math.ceil(self.repeated_share * samples)))

    def shortest_window_seconds(self, meter: str | None) -> float:
        """Return the length in seconds below which a window is too short for a meter."""
        return _of_meter(self.shortest_window_s, meter)


def _of_meter(lengths: Mapping[str, float], meter: str | None) -> float:
    """Return the length for a meter; for a sum (``nvml+rapl-powercap``) or a replay (``replay:nvml``), of its parts."""
    parts = (meter or "default").removeprefix("replay:").split("+")
    return max(lengths.get(part, lengths["default"]) for part in parts)
