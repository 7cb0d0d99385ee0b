"""Counts of changes that were tried, of the checks that found them, and of those missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """What came of one attack.

    Attributes:
        tried: how many changes were made.
        by: how often each check found one.
        missed: changes that no check found.
        elsewhere: changes that were found, but not by a check that should.
        seconds: spent in verify.
    """

    tried: int = 0
    by: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def judge(self, what: str, failed: set[str], expected: set[str] | None) -> None:
        """Count one change; None expects any check."""
        self.tried += 1
        self.by.update(failed)
        if not failed:
            self.missed.append(what)
        elif expected is not None and not failed & expected:
            self.elsewhere.append(f"{what} (found by {', '.join(sorted(failed))})")

    def add(self, other: Tally) -> None:
        """Take in more of the same attack."""
        self.tried += other.tried
        self.by.update(other.by)
        self.missed += other.missed
        self.elsewhere += other.elsewhere
        self.seconds += other.seconds

    @property
    def wrong(self) -> int:
        return len(self.missed) + len(self.elsewhere)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**vars(self), "by": dict(self.by)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tally:
        """The same again."""
        return cls(**{**values, "by": Counter(values["by"])})


def totals(parts: Iterable[Mapping[str, Any]]) -> dict[str, Tally]:
    """The tallies of all parts of a run, by attack."""
    found: dict[str, Tally] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, Tally()).add(Tally.from_json(values))
    return found


def report(tallies: Mapping[str, Tally]) -> int:
    """Print a table; gives the number of changes that were not found as they should be."""
    print(f"{'attack':58} {'tried':>7} {'found':>7} {'missed':>7}  by (most often first)")
    for name, tally in tallies.items():
        found = tally.tried - tally.wrong
        by = ", ".join(check for check, _ in tally.by.most_common(4))
        print(f"{name:58} {tally.tried:7} {found:7} {tally.wrong:7}  {by}")
        for what in [*tally.missed, *tally.elsewhere][:10]:
            print(f"    MISSED {what}")
    tried, wrong = (sum(getattr(tally, key) for tally in tallies.values()) for key in ("tried", "wrong"))
    seconds = sum(tally.seconds for tally in tallies.values())
    print(f"{'all':58} {tried:7} {tried - wrong:7} {wrong:7}  {1000 * seconds / max(1, tried):.1f} ms a verify")
    return wrong
