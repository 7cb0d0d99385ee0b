"""Checks that every meter must pass, built-in or third-party."""

from __future__ import annotations

import inspect
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from certify.assessments.efficiency.known_meters import fault, joules_from_readings
from certify.core.errors import LeanmarkError, MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.core.registry import NAME
from certify.core.windows import Window
from certify.measure.meters import COVERED, METERS, code
from certify.measure.meters.base import Meter, Reading, Usage
from certify.testing.checks import CheckFailed, require

BUSY_S = 0.1
TOPICS = ("Reads:", "Scope:", "Resolution:", "Wrap:", "Privilege:", "Known lies:", "https://")
"""Required topics in the docstring of a meter's module, with a link to the manual."""
SAME = 0.4
"""Relative tolerance for the joules of equal work, which come from a real machine."""
ROUNDING = 1e-6


@dataclass(frozen=True)
class Trial:
    """A meter and the work of its trial.

    Attributes:
        make: function that returns a new meter object each time.
        work: function that uses energy on a device that the meter covers.
    """

    make: Callable[[], Meter]
    work: Callable[[], object]

    def ready(self) -> Meter:
        """Return a new meter that is available.

        Raises:
            CheckFailed: it says that it cannot be used.
        """
        meter = self.make()
        reason = _reason(meter)
        require(reason is None, f"cannot be used here ({reason}); give check_meter one with a source that can be read")
        return meter

    def window(self, meter: Meter, times: int = 1) -> tuple[Reading, Usage]:
        """Measure one window with the work done a number of times."""
        meter.start()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(times):
            self.work()
        usage = Usage(time.perf_counter() - wall_s, time.process_time() - cpu_s)
        return meter.stop(usage), usage

    def joules(self, meter: Meter, times: int = 1) -> float:
        """Return the joules of one window."""
        return self.window(meter, times)[0].energy_j


def keep_busy() -> None:
    """Keep one processor busy for a tenth of a second."""
    end = time.process_time() + BUSY_S
    while time.process_time() < end:
        pass


def check_meter(meter: Callable[[], Meter], *, work: Callable[[], object] = keep_busy, readable: bool = True) -> None:
    """Try a meter in some windows and check the contract of meters.

    It documents itself, its coverage and its known lies; reports why it cannot be used without raising; states the same
    facts each time; returns positive joules for work, which follow from its raw readings; separates windows; raises
    MeasureError if a window was never started; and leaves no thread running.

    Args:
        meter: its class, or a function that returns a new one each time, with a fake root or a recorded source if the
            test machine has none.
        work: function that uses energy on a device that the meter covers, or advances a fake source.
        readable: False for a meter with nothing to read, which must then say so and refuse to start.

    Raises:
        CheckFailed: the contract is violated; the message names the meter and the check.

    Example:
        >>> from certify.measure.meters.vcpu_watts import VcpuWatts
        >>> check_meter(VcpuWatts)
    """
    trial = Trial(meter, work)
    for name, check in (CHECKS if readable else CHECKS_UNREADABLE).items():
        try:
            check(trial)
        except CheckFailed as error:
            raise CheckFailed(f"{type(meter()).__name__} {error} (check: {name})") from error


def _check_description(trial: Trial) -> None:
    meter = trial.make()
    require(isinstance(meter.level, EvidenceLevel), "has no EvidenceLevel as its level")
    # Joules are always read from something or computed, never counted directly.
    require(meter.level is not EvidenceLevel.DIRECT, "has the level 'direct', which joules cannot have")
    require(
        bool(meter.devices) and set(meter.devices) <= set(COVERED), "must cover 'cpu', 'cuda' or both, and nothing else"
    )
    for attribute in ("name", "scope", "resolution", "privilege"):
        text = getattr(meter, attribute)
        require(isinstance(text, str) and bool(text.strip()), f"has no {attribute} in words")


def _check_name(trial: Trial) -> None:
    meter = trial.make()
    try:
        if code(meter) is None:
            return
    except MeasureError as error:
        raise CheckFailed(f"has no source code to digest ({error})") from error
    require(
        bool(NAME.fullmatch(meter.name)),
        f"must have a name of lower-case letters, digits, '-' and '_', got '{meter.name}'",
    )
    # A meter outside leanmark must not pass for a built-in one in evidence.
    require(meter.name not in METERS.own, f"has the name of the built-in meter '{meter.name}'")


def _check_documentation(trial: Trial) -> None:
    text = inspect.getdoc(sys.modules[type(trial.make()).__module__]) or ""
    silent = [topic for topic in TOPICS if topic not in text]
    require(not silent, f"does not document {', '.join(silent)} in the docstring of its module")


def _reason(meter: Meter) -> str | None:
    try:
        reason = meter.unavailable()
    except Exception as error:  # of whatever kind: this is what the check is about
        raise CheckFailed(f"raises {type(error).__name__} instead of saying why it cannot be used") from error
    if reason is not None:
        require(isinstance(reason, str) and reason.endswith("."), "does not say in a sentence why it cannot be used")
    return reason


def _check_availability(trial: Trial) -> None:
    trial.ready()
    meter = trial.make()
    # Called twice, because choosing a meter and using it are two calls.
    require([_reason(meter) for _ in range(2)] == [None, None], "gives different answers on whether it can be used")


def _check_refusal(trial: Trial) -> None:
    meter = trial.make()
    require(_reason(meter) is not None, "says that it can be used although there is nothing to read")
    try:
        meter.start()
    except LeanmarkError:
        return
    raise CheckFailed("starts a window although it says that it cannot be used")


def _check_facts(trial: Trial) -> None:
    meter = trial.ready()
    # Better meters were refused for a reason, which must reach the evidence unchanged.
    facts = meter.facts({"better": "why not"})
    require(isinstance(facts, MeterFacts), f"returns {type(facts).__name__} instead of MeterFacts")
    stated = (facts.name, facts.level, facts.scope)
    require(
        stated == (meter.name, meter.level.value, meter.scope),
        "states a different name, level or scope than its attributes",
    )
    require(bool(facts.method.strip()), "does not state its method")
    error = facts.relative_error
    require(error is None or (math.isfinite(error) and error >= 1), "states an error that is not a factor of 1 or more")
    require(facts.refused == {"better": "why not"}, "does not pass on why better meters were refused")
    require(facts.code is None, "must not state a digest of its code, which leanmark adds")
    try:
        json.dumps(asdict(facts), allow_nan=False)
    except (TypeError, ValueError) as cause:
        raise CheckFailed(f"states parameters that are not JSON ({cause})") from cause
    trial.joules(meter)
    # Facts are signed once for all windows, so they must not depend on the object or on earlier windows.
    others = [meter.facts({"better": "why not"}), trial.ready().facts({"better": "why not"})]
    require(others == [facts, facts], "states different facts after a window, or in a second object")


def _check_window(trial: Trial) -> None:
    meter = trial.ready()
    for _ in range(2):
        reading, _ = trial.window(meter)
        require(isinstance(reading, Reading), f"returns {type(reading).__name__} instead of a Reading")
        require(math.isfinite(reading.energy_j) and reading.energy_j > 0, f"returns {reading.energy_j} J for work")
        plain = all(isinstance(key, str) and math.isfinite(value) for key, value in reading.raw.items())
        require(plain, "records raw readings that are not finite numbers by name")


def _check_readings(trial: Trial) -> None:
    meter = trial.ready()
    for _ in range(3):
        check_reading(meter, *trial.window(meter))


def check_reading(meter: Meter, reading: Reading, usage: Usage) -> None:
    """Check that the judge accepts a reading as the meter's, and its joules as consistent with it.

    Raises:
        CheckFailed: evidence with it would be refused.
    """
    facts = replace(meter.facts({}), code=code(meter))
    # Measured on this machine, so the vCPUs that the meter states are those that the machine allowed.
    wrong = fault(facts, {"processors_allowed": facts.parameters.get("vcpus")})
    require(wrong is None, f"has a reading for which evidence would be refused: {wrong}")
    window = Window(
        "main", 0, 0, 0, "baseline", 1, 1, 0.0, usage.duration_s, usage.cpu_s, reading.energy_j, dict(reading.raw)
    )
    joules = joules_from_readings(facts, window)
    if joules is None:
        raise CheckFailed("records no raw readings from which its joules follow; see certify.measure.meters.base")
    same = math.isclose(joules, reading.energy_j, rel_tol=ROUNDING, abs_tol=ROUNDING)
    require(same, f"returns {reading.energy_j:g} J, but its raw readings give {joules:g} J")


def _check_sequence(trial: Trial) -> None:
    meter = trial.ready()
    first, second, both = trial.joules(meter), trial.joules(meter), trial.joules(meter, times=2)
    message = f"gives {first:g} J and {second:g} J for two windows, and {both:g} J for one with the work of both"
    # Joules must add up, because a counter that is not reset would count the first window again.
    require(math.isclose(first + second, both, rel_tol=SAME), f"{message}; a window must only count its own joules")


def _check_idle(trial: Trial) -> None:
    meter = trial.ready()
    threads = set(threading.enumerate())
    used = trial.joules(meter)
    idle = trial.joules(meter, times=0)
    require(0 <= idle < SAME * used, f"gives {idle:g} J for a window without work, after one of {used:g} J")
    # Started and abandoned, because a worker may die in the middle of a window.
    meter.start()
    trial.work()
    given_up = trial.joules(meter, times=0)
    require(0 <= given_up < SAME * used, f"gives {given_up:g} J for an idle window that was started twice")
    require(set(threading.enumerate()) <= threads, "leaves a thread running when its window is over")


def _check_order(trial: Trial) -> None:
    meter = trial.ready()
    for when in ("before it was started", "twice"):
        try:
            meter.stop(Usage(1.0, 1.0))
        except MeasureError:
            trial.joules(meter)
            continue
        raise CheckFailed(f"returns joules when it is stopped {when}; it must raise MeasureError")


CHECKS: Mapping[str, Callable[[Trial], None]] = MappingProxyType(
    {
        "description": _check_description,
        "name": _check_name,
        "documentation": _check_documentation,
        "availability": _check_availability,
        "facts": _check_facts,
        "window": _check_window,
        "readings": _check_readings,
        "sequence": _check_sequence,
        "idle": _check_idle,
        "order": _check_order,
    }
)
CHECKS_UNREADABLE: Mapping[str, Callable[[Trial], None]] = MappingProxyType(
    {**{name: CHECKS[name] for name in ("description", "name", "documentation")}, "refusal": _check_refusal}
)
