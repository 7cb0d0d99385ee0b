"""Idle policy of a client: mains power, hours, load of other processes and a daily energy budget.

A client declines a round that its policy does not allow. During training it checks the load at every layer, forward and
backward, and after every step, and sleeps while other processes need the processor. So it yields within a quarter of a
second plus the time of the layer at hand: within a second, unless a layer takes longer than that for one batch, or
reading a batch does. After a while it gives up, and the server continues without it. The energy used is stored in the
client's folder, so a restart does not renew the day's budget.
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
"""Minimum interval between two readings of the load; over less time they are noise."""
WAIT_S = 0.25
GIVE_UP_S = 60.0

DeclineReason = Literal["busy", "budget", "policy", "failed"]


class Declined(LeanmarkError):
    """A client does not take part in a round.

    Attributes:
        reason: reason in the log.
    """

    def __init__(self, reason: DeclineReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: DeclineReason = reason


class IdlePolicy(BaseModel):
    """Conditions under which a client computes; frozen, and validated on creation.

    Example:
        >>> IdlePolicy(hours=((22, 24), (0, 6))).permits_hour(23)
        True
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    mains_only: bool = Field(default=True, description="Whether to compute only on mains power.")
    most_load: float = Field(
        default=0.25, gt=0, le=1, description="Share of the processor that others may use before it yields."
    )
    hours: tuple[tuple[int, int], ...] = Field(
        default=((0, 24),), description="Spans of local hours in which it computes, as start and end."
    )
    joules_per_day: float | None = Field(default=None, gt=0, description="Joules per day; unlimited by default.")
    give_up_s: float = Field(default=GIVE_UP_S, gt=0, description="Maximum seconds to wait for the processor.")

    def permits_hour(self, hour: int) -> bool:
        """Return whether a local hour, 0 to 23, is in one of the spans."""
        return any(begin <= hour < end for begin, end in self.hours)


@dataclass
class Machine:
    """Readings of the machine; replaceable in tests."""

    @staticmethod
    def on_battery() -> bool:
        """Return whether it runs on battery; False without a battery."""
        battery = _psutil().sensors_battery()
        return battery is not None and not battery.power_plugged

    @staticmethod
    def busy_s() -> float:
        """Return the CPU-seconds used by all processes since the machine started."""
        times = _psutil().cpu_times()
        # On Linux, guest time is contained in user time (proc(5)), and iowait is idle.
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    @staticmethod
    def own_s() -> float:
        """Return the CPU-seconds used by this process."""
        return time.process_time()

    @staticmethod
    def processors() -> int:
        """Return the number of processors."""
        return os.cpu_count() or 1


@dataclass
class Idle:
    """Enforcement of an idle policy.

    Attributes:
        policy: policy of the client.
        folder: folder that stores the day's joules; None keeps them in memory.
        machine: readings of the machine.
        clock: function that returns monotonic seconds.
        today: function that returns the local time.
        sleep: function that waits a number of seconds.
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
        """Require that the client may start now.

        Raises:
            Declined: the policy does not allow it.
        """
        hour = self.today().hour
        if not self.policy.permits_hour(hour):
            raise Declined("policy", f"The client computes at other hours; it is {hour} o'clock.")
        if self.policy.mains_only and self.machine.on_battery():
            raise Declined("policy", "The client computes on mains power only; it is on battery.")
        self.require_budget()
        # Take two new readings, because the interval since the last round would average over hours.
        self._seen = None
        self.others()
        self.sleep(LOOK_EVERY_S)
        load = self.others()
        if load is not None and load > self.policy.most_load:
            raise Declined("busy", f"Others use {load:.0%} of the processor; at most {self.policy.most_load:.0%} may.")

    def require_budget(self) -> None:
        """Require that some of the day's energy budget is left.

        Raises:
            Declined: the budget is used up, or no meter measures energy.
        """
        most, used = self.policy.joules_per_day, self._today()[1]
        if most is not None and self._unmetered:
            raise Declined("budget", "No meter measures this machine's energy, so the day's budget cannot be enforced.")
        if most is not None and used >= most:
            raise Declined("budget", f"The client has used {used:.0f} J today; its budget is {most:g} J.")

    def step(self) -> None:
        """Check the load during training, and sleep while other processes need the processor.

        Raises:
            Declined: they need it for longer than the policy allows.
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
        """Return the share of the processor used by others since the last reading; None if that was too recent."""
        here = self.clock()
        if self._seen is not None and here - self._seen[0] < LOOK_EVERY_S * 0.9:
            return None  # before the machine is read, since each layer asks
        now, before = (here, self.machine.busy_s(), self.machine.own_s()), self._seen
        self._seen = now
        if before is None:
            return None
        wall, busy, own = (new - old for new, old in zip(now, before, strict=True))
        return max(0.0, busy - own) / (wall * self.machine.processors())

    def used(self, energy_j: float | None) -> None:
        """Add the energy of a round; if it was not measured, a client with a budget declines from now on."""
        self._unmetered = energy_j is None
        day, before = self._today()
        self._used = (day, before + (energy_j or 0.0))
        if self.folder is not None:
            write_text(self.folder / "energy.json", json.dumps({"day": day, "energy_j": self._used[1]}))

    def _today(self) -> tuple[str, float]:
        day = self.today().date().isoformat()
        if self._used is None and self.folder is not None:
            self._used = _stored(self.folder / "energy.json")
        return self._used if self._used is not None and self._used[0] == day else (day, 0.0)


def _stored(path: Path) -> tuple[str, float] | None:
    try:
        values = json.loads(path.read_bytes())
        return str(values["day"]), float(values["energy_j"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _psutil() -> Any:
    """Return the library, which is needed only for idle policies.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingExtra("An idle policy", "federated") from error
    return psutil
