"""Comparison of what was signed with what follows from the evidence, figure by figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from certify.assessment.profile import Profile
from certify.core.estimate import Estimate
from certify.core.finding import Finding

TOLERANCE = 1e-9
"""Relative tolerance for differences of closed formulas between processors."""

_NEAR_ZERO = 1e-12

Match = Literal["same", "reworded", "differs"]


@dataclass(frozen=True)
class Compared:
    """One figure, guard or part of the outcome, as signed and as derived.

    Attributes:
        name: name of the figure, the guard, or the part of the outcome.
        signed: signed value as JSON; None if it was not signed.
        derived: derived value as JSON; None if it does not follow.
        difference: largest relative difference of a figure's value and ends; None if it is undefined.
        match: ``reworded`` if only words differ.
    """

    name: str
    signed: Any
    derived: Any
    difference: float | None
    match: Match

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "name": self.name,
            "signed": self.signed,
            "derived": self.derived,
            "difference": self.difference,
            "match": self.match,
        }


def compare_figures(signed: Profile, derived: Profile) -> Iterator[Compared]:
    """Yield every estimate of either profile, in the order of the derived one."""
    for name in dict.fromkeys([*derived.estimates, *signed.estimates]):
        mine, theirs = derived.estimates.get(name), signed.estimates.get(name)
        was, now = (None if estimate is None else estimate.to_json() for estimate in (theirs, mine))
        if mine is None or theirs is None:
            yield Compared(name, was, now, None, "differs")
            continue
        difference = _difference(theirs, mine)
        match: Match = "differs"
        if difference <= TOLERANCE and _same_kind(mine, theirs):
            # A method is a description, so wording it differently is not a contradiction.
            match = "same" if mine.method == theirs.method else "reworded"
        yield Compared(name, was, now, difference if math.isfinite(difference) else None, match)


def compare_guards(signed: Profile, derived: Profile) -> Iterator[Compared]:
    """Yield every guard of either profile, in the order of the derived one."""
    for name in dict.fromkeys(guard.name for guard in (*derived.guards, *signed.guards)):
        mine, theirs = derived.guard(name), signed.guard(name)
        was, now = (None if guard is None else guard.outcome for guard in (theirs, mine))
        yield Compared(name, was, now, None, _guard_match(theirs, mine))


def compare_outcomes(signed: Mapping[str, Any], derived: Mapping[str, Any]) -> Iterator[Compared]:
    """Yield every part of the outcome; of its sentences, only the number must match.

    Example:
        >>> [row.match for row in compare_outcomes({"letter": "C", "notes": ["a"]}, {"letter": "C", "notes": ["b"]})]
        ['same', 'reworded']
    """
    for name, mine in derived.items():
        theirs: Any = signed.get(name)
        match: Match = "same" if mine == theirs else "differs"
        # A later version may word sentences differently, but must not add or omit any.
        if isinstance(mine, list) and isinstance(theirs, list) and mine != theirs and len(mine) == len(theirs):
            match = "reworded"
        difference = None
        # A boolean is an integer in Python, and True must not equal 1.0.
        if isinstance(mine, float) and isinstance(theirs, int | float) and not isinstance(theirs, bool):
            difference = _relative(theirs, mine)
            match = "same" if difference <= TOLERANCE else "differs"
        yield Compared(name, theirs, mine, difference, match)


def _guard_match(signed: Finding | None, derived: Finding | None) -> Match:
    if signed is None or derived is None or signed.outcome != derived.outcome:
        return "differs"
    return "same" if signed.sentence == derived.sentence else "reworded"


def _same_kind(first: Estimate, second: Estimate) -> bool:
    # Unit, sample size and evidence level must be equal, or the same number means something else.
    return (first.unit, first.n, first.evidence) == (second.unit, second.n, second.evidence)


def _difference(first: Estimate, second: Estimate) -> float:
    ends = ((first.value, second.value), (first.low, second.low), (first.high, second.high))
    return max(_relative(a, b) for a, b in ends)


def _relative(first: float, second: float) -> float:
    """Return the difference relative to the larger value; 0 if both are negligible."""
    # Rounding leaves small values where 0 is expected, and their relative difference can be large.
    if first == second or abs(first - second) <= _NEAR_ZERO:
        return 0.0
    return abs(first - second) / max(abs(first), abs(second)) if math.isfinite(first - second) else math.inf
