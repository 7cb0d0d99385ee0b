"""Editions of the scorecard: pillars, prerequisites, credits and levels, from the package's own YAML."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Len, MinLen

from certify.assessment.editions import edition_files, read_edition
from certify.core.errors import CertificateError
from certify.scorecard.rules import EVIDENCE, Rule, parse_rule

NEWEST = "secure-2026"
PACKAGE = "certify.scorecard"
LEVELS = ("certified", "silver", "gold", "platinum")
"""Lowest first."""
SIGNERS = ("self-attested", "cross-checked", "reproduced")
"""What a signature can vouch for, weakest first."""
ALWAYS = "always"
SIGNERS_FIGURES = "signers"
"""Stands for an assessment in rules about who measured again."""

Text = Annotated[str, Len(1, 400)]
Signer = Literal["self-attested", "cross-checked", "reproduced"]


@dataclass(frozen=True)
class Pillar:
    """A pillar.

    Attributes:
        title: for people.
        points: that its credits are worth together.
        scope_out: ``always`` where it may be declared not applicable with a reason, or a rule that must hold for it;
            empty where it may not.
    """

    title: Text
    points: Annotated[float, Gt(0)]
    scope_out: str = ""


@dataclass(frozen=True)
class Prerequisite:
    """What is asked of everybody, worth no points.

    Attributes:
        title: for people.
        rule: that must hold.
        reads: what the rule reads, in words.
        why: it is asked.
        improve: what to do about it.
        unless: a rule under which it is not asked; a figure that is missing does not release anybody.
    """

    title: Text
    rule: str
    reads: Text
    why: Text
    improve: Text
    unless: str = ""


@dataclass(frozen=True)
class Credit:
    """What earns points.

    Attributes:
        title: for people.
        pillar: that it belongs to.
        points: at most.
        rule: by which it earns them.
        reads: what the rule reads, in words.
        why: the rule is as it is.
        improve: what to do for more.
        attestable: whether a named third party's signed word earns half, where nothing was measured.
    """

    title: Text
    pillar: str
    points: Annotated[float, Gt(0)]
    rule: str
    reads: Text
    why: Text
    improve: Text
    attestable: bool = False


@dataclass(frozen=True)
class Level:
    """What a level asks.

    Attributes:
        total: points at least.
        floors: points at least, by pillar.
        signer: what somebody else must have vouched for.
        metered: a rule for the energy; empty where modelled energy will do.
        all_pillars: whether no pillar may be scoped out.
    """

    total: Annotated[float, Gt(0)]
    floors: dict[str, Annotated[float, Ge(0)]]
    signer: Signer = "self-attested"
    metered: str = ""
    all_pillars: bool = False


@dataclass(frozen=True)
class _Constants:
    """What stands in the file."""

    name: str
    date: str
    valid_days: Annotated[int, Ge(1)]
    pillars: Annotated[dict[str, Pillar], MinLen(1)]
    prerequisites: dict[str, Prerequisite]
    credits: Annotated[dict[str, Credit], MinLen(1)]
    levels: dict[str, Level]


@dataclass(frozen=True)
class ScorecardEdition(_Constants):
    """The constants of an edition.

    Attributes:
        digest: hex SHA-256 of the bytes of the edition's file.

    Example:
        >>> edition = load_edition()
        >>> edition.most, edition.levels["gold"].total
        (100.0, 60.0)
    """

    digest: str

    @property
    def most(self) -> float:
        """Points of all pillars together."""
        return float(sum(pillar.points for pillar in self.pillars.values()))

    def rules(self) -> Iterator[Rule]:
        """Every rule of the edition."""
        written = [credit.rule for credit in self.credits.values()]
        for one in self.prerequisites.values():
            written += [one.rule, one.unless]
        written += [level.metered for level in self.levels.values()]
        written += [pillar.scope_out for pillar in self.pillars.values() if pillar.scope_out != ALWAYS]
        return (parse_rule(text) for text in written if text)

    @functools.cached_property
    def figures(self) -> dict[str, frozenset[str]]:
        """Figures that the rules read, by assessment."""
        found: dict[str, set[str]] = {}
        for rule in self.rules():
            found.setdefault(rule.assessment, set()).add(rule.figure)
        return {name: frozenset(figures) for name, figures in found.items()}


@functools.cache
def load_edition(name: str = NEWEST) -> ScorecardEdition:
    """Load an edition by name.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: its file is malformed or contradicts itself (a damaged installation).
    """
    constants, digest = read_edition(PACKAGE, name, _Constants)
    edition = ScorecardEdition(**vars(constants), digest=digest)
    check_edition(edition)
    return edition


def edition_names() -> list[str]:
    """Names of all editions, oldest first."""
    return sorted(edition_files(PACKAGE), key=lambda name: (load_edition(name).date, name))


def check_edition(edition: ScorecardEdition) -> None:
    """Check that an edition does not contradict itself.

    Raises:
        CertificateError: points do not add up to those of a pillar, a pillar or a level is unknown, a rule cannot be
            read, or levels do not rise.
    """
    for problem in _problems(edition):
        raise CertificateError(f"Edition {edition.name} of the scorecard: {problem}")
    for _ in edition.rules():
        pass


def _problems(edition: ScorecardEdition) -> Iterator[str]:
    for name, pillar in edition.pillars.items():
        together = sum(credit.points for credit in edition.credits.values() if credit.pillar == name)
        if together != pillar.points:
            yield f"the credits of {name} are worth {together:g} points, and {pillar.points:g} are stated."
    known = set(edition.pillars)
    named = {credit.pillar for credit in edition.credits.values()}
    named |= {pillar for level in edition.levels.values() for pillar in level.floors}
    if strange := sorted(named - known):
        yield f"there is no pillar {strange[0]}; there are {', '.join(sorted(known))}."
    if tuple(edition.levels) != LEVELS:
        yield f"its levels should be {', '.join(LEVELS)}, in this order."
        return
    if both := sorted(set(edition.credits) & set(edition.prerequisites)):
        yield f"{both[0]} is the name of a credit and of a prerequisite."
    for lower, higher in zip(LEVELS, LEVELS[1:], strict=False):
        one, other = edition.levels[lower], edition.levels[higher]
        if one.total >= other.total or SIGNERS.index(one.signer) > SIGNERS.index(other.signer):
            yield f"{higher} should ask for more than {lower}."
        if any(points > other.floors.get(pillar, 0) for pillar, points in one.floors.items()):
            yield f"{higher} should have floors at least as high as {lower}."
    for level in edition.levels.values():
        if level.metered and parse_rule(level.metered).end != EVIDENCE:
            yield "what a level asks of the energy should be a level of evidence."
