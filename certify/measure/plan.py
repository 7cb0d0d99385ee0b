"""What the user may set of a measurement; everything else is a constant of the edition."""

from __future__ import annotations

from dataclasses import dataclass

from certify.core.errors import UsageError
from certify.core.evidence import DEFAULT_RUNTIME

MAX_WINDOW_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        window_s: about how long a window lasts, in seconds, at most 60; None takes the edition's for the meter.
        time_limit_s: limit on the main run, and on the null run where it is below the edition's; the least number of
            blocks is measured even if they take longer.
        wanted_half_width: half-width of the energy ratio's interval that is aimed at (0.05 is 5 %).
        threads: intra-op threads of both models; None takes for each the number at which it is cheapest.
        batch: samples in one inference.
        runtime: name of a runtime adapter or ``package.module:Name``, or ``auto`` for the own one that is cheapest, for
            each model.
        among: names that ``auto`` chooses from; empty for all own ones.
        meter: name of a meter or ``package.module:Name``; None takes the best own one that can be read.
        seed: of every random choice.
        min_blocks: fewer blocks of the null and the main run than the edition's, for trying out: no letter is given
            for them. None takes the edition's.
        yardstick: whether the yardstick is measured too.
        salt: enters the order of the samples, beside the digests of both files and of the data; an audit draws it
            afresh (certify.core.sample_order).
        metric: what is graded: ``top1``, ``top5``, ``regression:SCALE``, a registered name or
            ``package.module:function`` (see certify.data.metrics).

    Raises:
        UsageError: a value is out of its range.
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
            raise UsageError(f"A window of {self.window_s} s was asked for; it must be over 0 and at most 60 s.")
        if not self.time_limit_s > 0:
            raise UsageError(f"A time limit of {self.time_limit_s} s was asked for; it must be over 0.")
        if not 0 < self.wanted_half_width < 1:
            raise UsageError(f"A half-width of {self.wanted_half_width} was asked for; give a share between 0 and 1.")
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1.")
        if self.min_blocks is not None and self.min_blocks < 2:
            raise UsageError(f"min_blocks is {self.min_blocks}; two are the fewest that have a spread.")
