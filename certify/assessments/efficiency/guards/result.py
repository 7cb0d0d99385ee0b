"""What a guard is and what it returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from certify.assessments.efficiency.edition import Edition
from certify.core.evidence import Evidence, MeterFacts
from certify.core.windows import Window

Outcome = Literal["pass", "fail", "unknown"]


class Answer(NamedTuple):
    """The outcome of one guard and one sentence: what was found, and for a fail what it means."""

    outcome: Outcome
    sentence: str


Guard = Callable[[Evidence, Edition], Answer]

COMPARING: set[Guard] = set()
"""Guards over a comparison, each marked where it is written."""


def comparing(guard: Guard) -> Guard:
    """Mark a guard over a comparison of two models, which is not asked where one was measured alone."""
    COMPARING.add(guard)
    return guard


def check(holds: bool, sentence: str, meaning: str) -> Answer:
    """Pass with what was found, or fail with what was found and what it means."""
    return Answer("pass", f"{sentence}.") if holds else Answer("fail", f"{sentence}: {meaning}.")


def unknown(sentence: str) -> Answer:
    """Nothing that the guard could judge was recorded."""
    return Answer("unknown", f"{sentence}.")


IN_AUDITOR_FILE = unknown("The data are private, and what this needs stands in the auditor file")
"""Of a guard over rows, in public."""


def check_none(faults: Mapping[str, bool], sentence: str) -> Answer:
    """Pass with what was looked at, or fail with the faults, by their meaning, that are there."""
    found = [meaning for meaning, is_fault in faults.items() if is_fault]
    return check(not found, sentence, "; ".join(found))


NOT_READ = unknown("No energy meter was read")


def metered(evidence: Evidence) -> tuple[MeterFacts | None, list[Window]]:
    """The meter with the windows that it read; no meter where it read none."""
    read = [window for window in evidence.windows if window.energy_j is not None]
    return (evidence.header.meter if read else None), read


def host_values(windows: Iterable[Window], name: str) -> list[float] | None:
    """What was read beside every window under a name; None where it could not be read in each of them."""
    values = [window.host.get(name) for window in windows]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return known if known and len(known) == len(values) else None


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean of at least one value."""
    items = list(values)
    return math.fsum(items) / len(items)


def percent(share: float, sign: str = "-") -> str:
    """A share (0 to 1) as text in percent; ``+`` writes the sign of a gain too."""
    return f"{100 * share:{sign}.3g} %".replace("-", "−")
