"""Types and helpers of guards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from certify.assessments.efficiency.edition import Edition
from certify.core.evidence import Evidence, MeterFacts
from certify.core.windows import Window

Outcome = Literal["pass", "fail", "unknown"]


class Answer(NamedTuple):
    """Outcome of a guard with one sentence: what was found, and for a fail what it means."""

    outcome: Outcome
    sentence: str


Guard = Callable[[Evidence, Edition], Answer]

COMPARING: set[Guard] = set()
"""Guards that need two models, registered by the decorator."""


def comparing(guard: Guard) -> Guard:
    """Mark a guard that compares two models, and so is skipped if one was measured alone."""
    COMPARING.add(guard)
    return guard


def check(holds: bool, sentence: str, meaning: str) -> Answer:
    """Return a pass with what was found, or a fail with what was found and what it means.

    Example:
        >>> check(False, "2 of 9 windows overlap", "the clock was altered").sentence
        '2 of 9 windows overlap: the clock was altered.'
    """
    return Answer("pass", f"{sentence}.") if holds else Answer("fail", f"{sentence}: {meaning}.")


def unknown(sentence: str) -> Answer:
    """Return an unknown: the records lack what the guard needs.

    Example:
        >>> unknown("No window was recorded")
        Answer(outcome='unknown', sentence='No window was recorded.')
    """
    return Answer("unknown", f"{sentence}.")


IN_AUDITOR_FILE = unknown("The data are private, and this check needs the auditor file")
"""Public answer of a guard that needs rows."""


def check_none(faults: Mapping[str, bool], sentence: str) -> Answer:
    """Return a pass with what was checked, or a fail with the faults that apply."""
    found = [meaning for meaning, is_fault in faults.items() if is_fault]
    return check(not found, sentence, "; ".join(found))


NOT_READ = unknown("No energy meter was read")


def metered(evidence: Evidence) -> tuple[MeterFacts | None, list[Window]]:
    """Return the meter with the windows that it read; None for the meter if it read none."""
    read = [window for window in evidence.windows if window.energy_j is not None]
    return (evidence.header.meter if read else None), read


def host_values(windows: Iterable[Window], name: str) -> list[float] | None:
    """Return a named host reading of every window; None if any window lacks it."""
    values = [window.host.get(name) for window in windows]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return known if known and len(known) == len(values) else None


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean of at least one value.

    Example:
        >>> mean([1.0, 3.0])
        2.0
    """
    items = list(values)
    return math.fsum(items) / len(items)


def percent(share: float, sign: str = "-") -> str:
    """Format a share (0 to 1) in percent; ``+`` also writes the sign of a gain.

    Example:
        >>> percent(0.0312), percent(0.5, "+")
        ('3.12 %', '+50 %')
    """
    return f"{100 * share:{sign}.3g} %".replace("-", "−")
