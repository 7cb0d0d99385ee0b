"""Settings of a measurement that users can change; everything else is a constant of the edition."""

from __future__ import annotations

from dataclasses import dataclass

from certify.core.errors import UsageError
from certify.core.evidence import DEFAULT_RUNTIME

MAX_WINDOW_S = 60.0
MAX_THREADS = 1024
MAX_BATCH = 4096


@dataclass(frozen=True)
class Plan:
    """Settings of a measurement.

    Attributes:
        window_s: target length of a window in seconds, at most 60; None for the edition's value for the meter.
        time_limit_s: time limit of the main run in seconds, also of the null run if it is below the edition's, whose
            repetition has twice that; the least number of blocks is measured even if that takes longer.
        wanted_half_width: target half-width of the energy ratio's interval (0.05 is 5 %).
        threads: intra-op threads of both models; None for the cheapest number for each.
        batch: number of samples per inference.
        runtime: name of a runtime adapter or ``package.module:Name``, or ``auto`` for the cheapest built-in one for
            each model.
        among: names that ``auto`` chooses from; empty for all built-in ones.
        meter: name of a meter or ``package.module:Name``; None for the best readable built-in one.
        seed: seed of all random choices.
        min_blocks: least number of blocks of the null run and main run; fewer than the edition's is for trials only and
            gives no grade. None for the edition's number.
        yardstick: whether to measure the yardstick, too.
        salt: part of the seed of the samples' order, with the digests of both files and of the data; an audit draws a
            new one (certify.core.sample_order).
        metric: the graded metric: ``top1``, ``top5``, ``regression:SCALE``, a registered name or
            ``package.module:function`` (see certify.data.metrics).

    Raises:
        UsageError: a value is out of range.

    Example:
        >>> plan = Plan(threads=1, batch=8, time_limit_s=30.0)
        >>> plan.runtime
        'onnxruntime-cpu'
    """

    window_s: float | None = None
    time_limit_s: float = 90.0
    wanted_half_width: float = 0.05
    threads: int | None = None
    batch: int = 1
    runtime: str = DEFAULT_RUNTIME
    among: tuple[str, ...] = ()
    meter: str | None = None
    seed: int = 0
    min_blocks: int | None = None
    yardstick: bool = True
    metric: str = "top1"
    salt: str = ""

    def __post_init__(self) -> None:
        if self.window_s is not None and not 0 < self.window_s <= MAX_WINDOW_S:
            raise UsageError(f"The 'window_s' setting must be in (0, 60], got {self.window_s:g}.")
        if not self.time_limit_s > 0:
            raise UsageError(f"The 'time_limit_s' setting must be greater than 0, got {self.time_limit_s:g}.")
        if not 0 < self.wanted_half_width < 1:
            raise UsageError(f"The 'wanted_half_width' setting must be in (0, 1), got {self.wanted_half_width:g}.")
        for name, most in (("threads", MAX_THREADS), ("batch", MAX_BATCH)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"The '{name}' setting must be in [1, {most}], got {value}.")
        if self.min_blocks is not None and self.min_blocks < 2:
            raise UsageError(
                "The 'min_blocks' setting must be at least 2, since a single block has no spread, got "
                f"{self.min_blocks}."
            )
