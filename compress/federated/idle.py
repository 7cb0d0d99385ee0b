"""When a client may compute: on mains power, in its hours, while nobody else needs the processor, within its joules.

A client that is asked while it may not declines. One that has begun looks after every step and sleeps as long as
somebody else needs the processor, so that it yields within a step and a quarter of a second; it gives up after a while
and the server continues without it. What it used stands in a file in its folder, so that a restart does not renew the
day's budget.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from certify.core.errors import LeanmarkError, MissingExtra
from certify.core.files import write_text

LOOK_EVERY_S = 0.25
"""Loads over less time than this are noise."""
WAIT_S = 0.25
GIVE_UP_S = 60.0

DeclineReason = Literal["busy", "budget", "policy", "failed"]


class Declined(LeanmarkError):
    """A client takes no part in a round.

    Attributes:
        reason: as the log states it.
    """

    def __init__(self, reason: DeclineReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: DeclineReason = reason


class IdlePolicy(BaseModel):
    """When a client computes for others; frozen, and checked when it is made.

    Example:
        >>> IdlePolicy(hours=((22, 24), (0, 6))).permits_hour(23)
        True
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    mains_only: bool = Field(default=True, description="Whether the machine must not run on its battery.")
    most_load: float = Field(
        default=0.25, gt=0, le=1, description="Share of the processor that others may use before the client yields."
    )
    hours: tuple[tuple[int, int], ...] = Field(
        default=((0, 24),), description="Spans of local hours, from and up to, in which it computes."
    )
    joules_per_day: float | None = Field(default=None, gt=0, description="Most energy a day; any amount by default.")
    give_up_s: float = Field(default=GIVE_UP_S, gt=0, description="Seconds that it waits for the processor in a round.")

    def permits_hour(self, hour: int) -> bool:
        """Whether a local hour, 0 to 23, is in one of the spans."""
        return any(begin <= hour < end for begin, end in self.hours)


@dataclass
class Machine:
    """What is asked of the machine; another one in tests."""

    @staticmethod
    def on_battery() -> bool:
        """Whether it runs on a battery; one that has none does not."""
        battery = _psutil().sensors_battery()
        return battery is not None and not battery.power_plugged

    @staticmethod
    def busy_s() -> float:
        """CPU-seconds that all processes together have used since the machine started."""
        times = _psutil().cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    @staticmethod
    def own_s() -> float:
        """CPU-seconds of this process."""
        return time.process_time()

    @staticmethod
    def processors() -> int:
        """Processors that the machine has."""
        return os.cpu_count() or 1


@dataclass
class Idle:
    """A policy at work.

    Attributes:
        policy: when the client computes.
        folder: where the day's joules are kept; None keeps them in memory.
        machine: that is looked at.
        clock: monotonic seconds.
        today: local time.
        sleep: waits.
    """

    policy: IdlePolicy
    folder: Path | None = None
    machine: Machine = field(default_factory=Machine)
    clock: Callable[[], float] = time.monotonic
    today: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], None] = time.sleep
    _seen: tuple[float, float, float] | None = None
    _used: tuple[str, float] | None = None
    _unmetered: bool = False

    def require(self) -> None:
        """Ask whether the client may begin now.

        Raises:
            Declined: it may not; the sentence says why.
        """
        hour = self.today().hour
        if not self.policy.permits_hour(hour):
            raise Declined("policy", f"The client computes at other hours; it is {hour} o'clock.")
        if self.policy.mains_only and self.machine.on_battery():
            raise Declined("policy", "The client computes on mains power only, and runs on its battery.")
        self.require_budget()
        self._seen = None
        self.others()
        self.sleep(LOOK_EVERY_S)
        load = self.others()
        if load is not None and load > self.policy.most_load:
            raise Declined("busy", f"Others use {load:.0%} of the processor; at most {self.policy.most_load:.0%} may.")

    def require_budget(self) -> None:
        """Ask whether anything is left of the day's joules.

        Raises:
            Declined: nothing is.
        """
        most, used = self.policy.joules_per_day, self._today()[1]
        if most is not None and self._unmetered:
            raise Declined("budget", "No meter reads the joules of this machine, so the day's budget can't be kept.")
        if most is not None and used >= most:
            raise Declined("budget", f"The client has used {used:.0f} J today, of {most:g} J that it may.")

    def step(self) -> None:
        """Look after a step of the training, and sleep while others need the processor.

        Raises:
            Declined: they need it for longer than the policy waits.
        """
        load = self.others()
        if load is None or load <= self.policy.most_load:
            return
        began = self.clock()
        while load is None or load > self.policy.most_load:
            if self.clock() - began > self.policy.give_up_s:
                raise Declined("busy", f"Others have used the processor for {self.policy.give_up_s:g} s.")
            self.sleep(WAIT_S)
            load = self.others()

    def others(self) -> float | None:
        """Share of the processor that others have used since the last look; None where that was too short ago."""
        now = (self.clock(), self.machine.busy_s(), self.machine.own_s())
        if self._seen is None:
            self._seen = now
            return None
        wall, busy, own = (new - old for new, old in zip(now, self._seen, strict=True))
        if wall < LOOK_EVERY_S * 0.9:
            return None
        self._seen = now
        return max(0.0, busy - own) / (wall * self.machine.processors())

    def used(self, energy_j: float | None) -> None:
        """Note what a round cost; where nothing measured the joules, a budget stops the client from now on."""
        self._unmetered = energy_j is None
        day, before = self._today()
        self._used = (day, before + (energy_j or 0.0))
        if self.folder is not None:
            write_text(self.folder / "energy.json", json.dumps({"day": day, "energy_j": self._used[1]}))

    def _today(self) -> tuple[str, float]:
        day = self.today().date().isoformat()
        if self._used is None and self.folder is not None:
            self._used = _kept(self.folder / "energy.json")
        return self._used if self._used is not None and self._used[0] == day else (day, 0.0)


def _kept(path: Path) -> tuple[str, float] | None:
    try:
        values = json.loads(path.read_bytes())
        return str(values["day"]), float(values["energy_j"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _psutil() -> Any:
    """The library, which is asked for only where somebody has a policy.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingExtra("An idle policy", "federated") from error
    return psutil
