"""Level whose requirements a score meets, and what the next level needs. Pure functions.

Meeting the requirements awards nothing; only a scheme's mark does: see ``mark``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from certify.scorecard.edition import LEVELS, ScorecardEdition
from certify.scorecard.findings import contradictions
from certify.scorecard.lines import (
    DIGITS,
    HALF,
    Figures,
    Line,
    PrerequisiteResult,
    agreeing,
    credit_lines,
    out_of_scope,
    prerequisites,
)
from certify.scorecard.records import Records

SHOWN = 10.0
"""Steps per point in which points are shown, rounded down: 39.96 is shown as 39.9."""


@dataclass(frozen=True)
class Score:
    """Points of a model.

    Attributes:
        records: counted statements.
        edition: rules of the count.
        lines: result of each credit.
        prerequisites: result of each prerequisite.
        scoped_out: pillars that do not apply, with the reason.
    """

    records: Records
    edition: ScorecardEdition
    lines: tuple[Line, ...]
    prerequisites: tuple[PrerequisiteResult, ...]
    scoped_out: Mapping[str, str]

    @property
    def points(self) -> float:
        """Sum over all credits."""
        # Summed by fsum and rounded, because an error in the last bit must not decide whether a level is reached.
        return round(math.fsum(line.points for line in self.lines), DIGITS)

    @property
    def assessed(self) -> float:
        """Maximum points of the credits that were assessed."""
        return float(sum(line.credit.points for line in self.lines if line.assessed))

    @property
    def missing(self) -> tuple[Line, ...]:
        """Lines that were not assessed."""
        return tuple(line for line in self.lines if line.state == "not assessed")

    def of(self, pillar: str) -> float:
        """Return the points of a pillar."""
        return round(math.fsum(line.points for line in self.lines if line.credit.pillar == pillar), DIGITS)

    @property
    def pillars(self) -> dict[str, float]:
        """Points by pillar."""
        return {name: self.of(name) for name in self.edition.pillars}


def score(records: Records, edition: ScorecardEdition) -> Score:
    """Count points: a pure function with the same result on every platform.

    Raises:
        CertificateError: a figure is malformed.
    """
    against = contradictions(records)
    return Score(
        records,
        edition,
        credit_lines(records, edition, against),
        prerequisites(records, edition, against),
        out_of_scope(records, edition),
    )


@dataclass(frozen=True)
class Lack:
    """Requirement of a level that a score does not meet.

    Attributes:
        kind: ``prerequisite``, ``points``, ``floor``, ``signer``, ``energy`` or ``scope``.
        sentence: description of what is missing.
        points: missing points; 0 if the requirement is not about points.
    """

    kind: str
    sentence: str
    points: float = 0.0


def lacking(found: Score, level: str) -> tuple[Lack, ...]:
    """Return the requirements of a level that a score does not meet."""
    return tuple(_lacks(found, level))


def _lacks(found: Score, level: str) -> Iterator[Lack]:
    required, edition = found.edition.levels[level], found.edition
    for row in found.prerequisites:
        if not row.holds:
            yield Lack("prerequisite", f"{row.name} is {row.state}: {row.prerequisite.improve}.")
    if found.points < required.total:
        short = required.total - found.points
        yield Lack("points", f"It has {format_points(found.points)} of the {required.total:g} points required.", short)
    for pillar, floor in required.floors.items():
        # A pillar that was correctly scoped out has no points to earn, so its floor does not apply.
        if pillar not in found.scoped_out and found.of(pillar) < floor:
            title = edition.pillars[pillar].title
            has = format_points(found.of(pillar))
            yield Lack("floor", f"{title}: it has {has} of the {floor:g} points required.", floor - found.of(pillar))
    if required.signer != "self-attested" and not agreeing(found.records, required.signer):
        yield Lack("signer", f"No third party that you trust has {required.signer} the certificate and agrees.")
    if required.metered and not Figures(found.records).holds(required.metered):
        yield Lack("energy", "The energy was not read from a meter or a counter.")
    if required.all_pillars and found.scoped_out:
        yield Lack("scope", f"No pillar may be scoped out, got {', '.join(found.scoped_out)}.")


def enough_for(found: Score) -> str | None:
    """Return the highest level whose requirements a score meets, without awarding it; None if there is none."""
    # Searched from the top: requirements are nested, so the first level without a lack is the highest.
    return next((level for level in reversed(LEVELS) if not lacking(found, level)), None)


def next_level(found: Score) -> str | None:
    """Return the level above the one whose requirements are met; None above the highest."""
    reached = enough_for(found)
    place = 0 if reached is None else LEVELS.index(reached) + 1
    return LEVELS[place] if place < len(LEVELS) else None


@dataclass(frozen=True)
class Step:
    """Way to earn more points, printed as ``+5.0 points: C2 measure with a counter``."""

    name: str
    points: float
    what: str

    def __str__(self) -> str:
        return f"+{format_points(self.points)} points: {self.name} {self.what}"


def steps(found: Score, level: str | None = None) -> tuple[Step, ...]:
    """Return ways to earn more points, by points; pillars below a level's floor come first."""
    floors = {} if level is None else found.edition.levels[level].floors
    under = {pillar for pillar, floor in floors.items() if found.of(pillar) < floor}
    most = {
        # A declaration earns nothing, so an attested half is the most that such a line can earn.
        line.name: line.credit.points * (HALF if line.credit.rule.startswith("declaration") else 1)
        for line in found.lines
    }
    ways = [
        (line.credit.pillar not in under, Step(line.name, most[line.name] - line.points, line.credit.improve))
        for line in found.lines
        if line.state != "not applicable" and most[line.name] > line.points
    ]
    # Floors come first, because points elsewhere cannot make up for a pillar below its floor.
    return tuple(step for _, step in sorted(ways, key=lambda way: (way[0], -way[1].points)))


def format_points(points: float) -> str:
    """Format points in tenths, rounded down.

    Example:
        >>> format_points(39.96), format_points(40.0)
        ('39.9', '40.0')
    """
    # Rounded to 6 decimals before the floor, because 39.9 times 10 may be 398.99999999999994.
    return f"{math.floor(round(points * SHOWN, 6)) / SHOWN:.1f}"
