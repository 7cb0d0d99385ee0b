"""The battery for meters: a sound one passes it, and each broken one fails at the check that it breaks.

The sound one documents itself as the battery asks. Reads: a number that work moves. Scope: nothing. Resolution: 1 mJ.
Wrap: none. Privilege: none. Known lies: all of it. See https://example.org.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Reading, Usage
from certify.testing import CHECKS, CheckFailed, check_meter


class Source:
    """Millijoules that were used so far."""

    used_mj = 0


def work() -> None:
    Source.used_mj += 5000


class Sound:
    """Keeps every promise."""

    name = "sound"
    devices = frozenset({"cpu"})
    scope = "wall"
    resolution = "1 mJ"
    privilege = "none"
    level = EvidenceLevel.WALL
    before: int | None = None

    def unavailable(self) -> str | None:
        return None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        return MeterFacts(self.name, self.level.value, self.scope, "counter", 1.01, dict(refused), {"socket": 1})

    def start(self) -> None:
        self.before = Source.used_mj

    def stop(self, usage: Usage) -> Reading:
        before, self.before = self.before, None
        if before is None:
            raise MeasureError("The meter sound was stopped before it was started.")
        raw = {"socket_before_mj": float(before), "socket_after_mj": float(Source.used_mj)}
        return Reading((Source.used_mj - before) * 1e-3, raw)


class Scopeless(Sound):
    scope = " "


class Direct(Sound):
    level = EvidenceLevel.DIRECT


class Elsewhere(Sound):
    devices = frozenset({"tpu"})


class Impostor(Sound):
    name = "nvml"


class Shouting(Sound):
    name = "Sound+nvml"


class Undocumented(Sound):
    pass


Undocumented.__module__ = "json"


class Raising(Sound):
    def unavailable(self) -> str | None:
        raise OSError("no such device")


class Laconic(Sound):
    def unavailable(self) -> str | None:
        return "no"


class Wavering(Sound):
    asked = 0

    def unavailable(self) -> str | None:
        self.asked += 1
        return "Ask me once." if self.asked > 1 else None


def stating(**changed: Any) -> type[Sound]:
    class Stating(Sound):
        def facts(self, refused: Mapping[str, str]) -> MeterFacts:
            return dataclasses.replace(super().facts(refused), **changed)

    return Stating


class Forgetful(Sound):
    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        return super().facts({})


class Changing(Sound):
    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        return dataclasses.replace(super().facts(refused), parameters={"used": Source.used_mj})


class Zero(Sound):
    def stop(self, usage: Usage) -> Reading:
        return Reading(0.0, super().stop(usage).raw)


class Unfinite(Sound):
    def stop(self, usage: Usage) -> Reading:
        reading = super().stop(usage)
        return Reading(reading.energy_j, {**reading.raw, "noise": float("nan")})


class Silent(Sound):
    def stop(self, usage: Usage) -> Reading:
        return Reading(super().stop(usage).energy_j, {})


class Generous(Sound):
    def stop(self, usage: Usage) -> Reading:
        reading = super().stop(usage)
        return Reading(reading.energy_j * 0.9, reading.raw)


class Constant(Sound):
    def stop(self, usage: Usage) -> Reading:
        super().stop(usage)
        return Reading(5.0, {"socket_before_mj": 0.0, "socket_after_mj": 5000.0})


class Cumulative(Sound):
    first: int | None = None

    def start(self) -> None:
        self.first = Source.used_mj if self.first is None else self.first
        self.before = self.first


class Stubborn(Sound):
    def start(self) -> None:
        self.before = Source.used_mj if self.before is None else self.before


class Leaky(Sound):
    def start(self) -> None:
        super().start()
        threading.Thread(target=threading.Event().wait, args=(5.0,), daemon=True).start()


class Lax(Sound):
    def stop(self, usage: Usage) -> Reading:
        self.before = Source.used_mj if self.before is None else self.before
        return super().stop(usage)


class Twice(Sound):
    def stop(self, usage: Usage) -> Reading:
        before = self.before
        reading = super().stop(usage)
        self.before = before
        return reading


class Absent(Sound):
    def unavailable(self) -> str | None:
        return "There is no socket. Plug one in."

    def start(self) -> None:
        raise MeasureError("There is no socket. Plug one in.")


class Eager(Absent):
    def start(self) -> None:
        return


def test_sound_meter_passes() -> None:
    check_meter(Sound, work=work)
    check_meter(Absent, readable=False)


@pytest.mark.parametrize(
    ("broken", "check", "words"),
    [
        (Scopeless, "description", "no scope"),
        (Direct, "description", "'direct'"),
        (Elsewhere, "description", "must cover"),
        (Impostor, "name", "the built-in meter 'nvml'"),
        (Shouting, "name", "'Sound[+]nvml'"),
        (Undocumented, "documentation", "Reads:, .*Known lies:"),
        (Raising, "availability", "raises OSError"),
        (Laconic, "availability", "in a sentence"),
        (Wavering, "availability", "gives different answers"),
        (Absent, "availability", "no socket.*source that can be read"),
        (stating(name="other"), "facts", "a different name"),
        (stating(level="counter"), "facts", "a different name, level"),
        (stating(method=""), "facts", "method"),
        (stating(relative_error=0.02), "facts", "factor of 1 or more"),
        (stating(parameters={"w": float("nan")}), "facts", "not JSON"),
        (stating(code="ab" * 32), "facts", "leanmark adds"),
        (Forgetful, "facts", "refused"),
        (Changing, "facts", "different facts after a window"),
        (Zero, "window", "0.0 J for work"),
        (Unfinite, "window", "finite numbers"),
        (Silent, "readings", "no raw readings"),
        (Generous, "readings", "4.5 J, but its raw readings give 5 J"),
        (Constant, "sequence", "5 J and 5 J .* and 5 J"),
        (Cumulative, "idle", "window without work"),
        (Stubborn, "idle", "started twice"),
        (Leaky, "idle", "thread running"),
        (Lax, "order", "before it was started"),
        (Twice, "order", "stopped twice"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_broken_meter_fails_the_check_that_it_breaks(broken: type[Sound], check: str, words: str) -> None:
    assert check in CHECKS
    with pytest.raises(CheckFailed, match=rf"^{broken.__name__} .*{words}.*\(check: {check}\)$"):
        check_meter(broken, work=work)


@pytest.mark.parametrize(("broken", "words"), [(Sound, "nothing to read"), (Eager, "starts a window")])
def test_unreadable_meter_fails_when_it_still_measures(broken: type[Sound], words: str) -> None:
    with pytest.raises(CheckFailed, match=rf"{words}.*\(check: refusal\)$"):
        check_meter(broken, readable=False)
