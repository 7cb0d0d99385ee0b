"""Editions of the scorecard: pillars, prerequisites, credits and levels, from the package's YAML files."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Len, MinLen

from certify.assessment.editions import edition_files, read_edition
from certify.attest.verification import VOUCHING, Vouching
from certify.core.errors import CertificateError
from certify.scorecard.rules import EVIDENCE, Rule, parse_rule

NEWEST = "secure-2026"
PACKAGE = "certify.scorecard"
LEVELS = ("certified", "silver", "gold", "platinum")
"""Lowest first."""
ALWAYS = "always"
SIGNERS_FIGURES = "signers"
"""Name used instead of an assessment's in rules about third parties that measured again."""

Text = Annotated[str, Len(1, 400)]


@dataclass(frozen=True)
class Pillar:
    """Pillar of the scorecard.

    Attributes:
        title: display title.
        points: sum of the points of its credits.
        scope_out: ``always`` if it may be declared not applicable with a reason, or the rule under which it may; empty
            if it must apply.
    """

    title: Text
    points: Annotated[float, Gt(0)]
    scope_out: str = ""


@dataclass(frozen=True)
class Prerequisite:
    """Requirement of every level that earns no points.

    Attributes:
        title: display title.
        rule: rule that must hold.
        reads: description of what the rule reads.
        why: reason for the requirement.
        improve: advice on how to meet it.
        unless: rule under which it is not required; a missing figure does not satisfy it.
    """

    title: Text
    rule: str
    reads: Text
    why: Text
    improve: Text
    unless: str = ""


@dataclass(frozen=True)
class Credit:
    """Line of the scorecard that earns points.

    Attributes:
        title: display title.
        pillar: name of its pillar.
        points: maximum points.
        rule: rule by which it earns points.
        reads: description of what the rule reads.
        why: reason for the rule.
        improve: advice on how to earn more.
        attestable: whether a third party's attestation earns half of the points if nothing was measured.
        attested_rule: rule over a stated figure by which an attestation earns half of what the figure would; empty if
            it earns half of all points.
    """

    title: Text
    pillar: str
    points: Annotated[float, Gt(0)]
    rule: str
    reads: Text
    why: Text
    improve: Text
    attestable: bool = False
    attested_rule: str = ""


@dataclass(frozen=True)
class Level:
    """Requirements of a level.

    Attributes:
        total: minimum points.
        floors: minimum points by pillar.
        signer: check by a third party that is required; ``self-attested`` for none.
        metered: rule for the evidence level of energy; empty if modelled energy is accepted.
        all_pillars: whether no pillar may be scoped out.
    """

    total: Annotated[float, Gt(0)]
    floors: dict[str, Annotated[float, Ge(0)]]
    signer: Vouching = "self-attested"
    metered: str = ""
    all_pillars: bool = False


@dataclass(frozen=True)
class _Constants:
    """Content of the file."""

    name: str
    date: str
    valid_days: Annotated[int, Ge(1)]
    pillars: Annotated[dict[str, Pillar], MinLen(1)]
    prerequisites: dict[str, Prerequisite]
    credits: Annotated[dict[str, Credit], MinLen(1)]
    levels: dict[str, Level]


@dataclass(frozen=True)
class ScorecardEdition(_Constants):
    """Constants of an edition.

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
        """Sum of the points of all pillars."""
        return float(sum(pillar.points for pillar in self.pillars.values()))

    def rules(self) -> Iterator[Rule]:
        """Return every rule of the edition."""
        written = [rule for credit in self.credits.values() for rule in (credit.rule, credit.attested_rule)]
        for prerequisite in self.prerequisites.values():
            written += [prerequisite.rule, prerequisite.unless]
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
        UsageError: the edition is unknown.
        CertificateError: its file is malformed or contradicts itself (a damaged installation).
    """
    constants, digest = read_edition(PACKAGE, name, _Constants)
    edition = ScorecardEdition(**vars(constants), digest=digest)
    check_edition(edition)
    return edition


def edition_names() -> list[str]:
    """Return the names of all editions, oldest first."""
    # The date decides, because names need not sort by age.
    return sorted(edition_files(PACKAGE), key=lambda name: (load_edition(name).date, name))


def check_edition(edition: ScorecardEdition) -> None:
    """Check that an edition does not contradict itself.

    Raises:
        CertificateError: the credits of a pillar do not add up to its points, a pillar or level is unknown, a rule is
            malformed, or a level does not require more than the one below.
    """
    for problem in _problems(edition):
        raise CertificateError(f"Edition {edition.name} of the scorecard: {problem}")
    # Parsing a rule checks it, and an edition with a malformed rule must not load.
    for _ in edition.rules():
        pass


def _problems(edition: ScorecardEdition) -> Iterator[str]:
    for name, pillar in edition.pillars.items():
        together = sum(credit.points for credit in edition.credits.values() if credit.pillar == name)
        if together != pillar.points:
            yield f"the credits of {name} add up to {together:g} points, not to its {pillar.points:g}."
    known = set(edition.pillars)
    named = {credit.pillar for credit in edition.credits.values()}
    named |= {pillar for level in edition.levels.values() for pillar in level.floors}
    if strange := sorted(named - known):
        yield f"the pillar {strange[0]} is unknown; known are {', '.join(sorted(known))}."
    if tuple(edition.levels) != LEVELS:
        yield f"its levels must be {', '.join(LEVELS)}, in this order."
        return
    if both := sorted(set(edition.credits) & set(edition.prerequisites)):
        yield f"{both[0]} names both a credit and a prerequisite."
    if idle := [name for name, credit in edition.credits.items() if credit.attested_rule and not credit.attestable]:
        yield f"{idle[0]} has a rule for attestations but is not attestable."
    # Levels must be nested, because otherwise a model could meet a higher level without meeting the one below it.
    for lower, higher in zip(LEVELS, LEVELS[1:], strict=False):
        below, above = edition.levels[lower], edition.levels[higher]
        if below.total >= above.total or VOUCHING.index(below.signer) > VOUCHING.index(above.signer):
            yield f"{higher} must require more than {lower}."
        if any(points > above.floors.get(pillar, 0) for pillar, points in below.floors.items()):
            yield f"{higher} must have floors at least as high as {lower}."
    for level in edition.levels.values():
        # Energy that was modelled would otherwise satisfy a level that requires a meter.
        if level.metered and parse_rule(level.metered).end != EVIDENCE:
            yield "the rule of a level for energy must be about its evidence level."
