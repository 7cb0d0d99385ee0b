"""Lines of a scorecard: the result of each prerequisite and credit. Pure functions of records and edition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from certify.core.estimate import Estimate
from certify.scorecard.edition import ALWAYS, SIGNERS_FIGURES, Credit, Prerequisite, ScorecardEdition
from certify.scorecard.findings import of_another_baseline, refuted
from certify.scorecard.records import Attested, Counted, Countersigned, Records
from certify.scorecard.rules import EVIDENCE, Rule, parse_rule

State = Literal["measured", "failed", "attested", "declared", "not assessed", "not applicable"]
Met = Literal["met", "missing", "contradicted", "not asked"]
HALF = 0.5
DIGITS = 9
"""Decimals to which points are rounded, so that floating-point error cannot decide a level."""


@dataclass(frozen=True)
class Line:
    """Result of a credit.

    Attributes:
        name: name of the credit.
        credit: the credit.
        points: earned points.
        state: how they were earned, or why not.
        sentence: what was found.
        source: assessment whose statement was read; None if there is none.
    """

    name: str
    credit: Credit
    points: float
    state: State
    sentence: str
    source: str | None

    @property
    def assessed(self) -> bool:
        """Whether it was assessed or declared at all."""
        return self.state not in ("not assessed", "not applicable")


@dataclass(frozen=True)
class PrerequisiteResult:
    """Result of a prerequisite."""

    name: str
    prerequisite: Prerequisite
    state: Met
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether it keeps no level out of reach."""
        return self.state in ("met", "not asked")


class Figures:
    """Figures of all statements, by ``ASSESSMENT.FIGURE``, except those of refusals and of refuted claims.

    Args:
        records: records of a scorecard.
    """

    def __init__(self, records: Records) -> None:
        self.refused = {statement.assessment for statement in records.of(Counted) if statement.refused}
        self.refuted = refuted(records)
        self._found: dict[str, Estimate] = {}
        for statement in records.of(Counted):
            # A refused or refuted statement still names figures; none of them may earn anything.
            if not statement.refused and statement.assessment not in self.refuted:
                self._found |= {
                    f"{statement.assessment}.{name}": found for name, found in statement.estimates().items()
                }
        for checked in ("cross-checked", "reproduced"):
            count = len(agreeing(records, checked))
            method = f"keys of others by whom it was {checked}"
            name = f"{SIGNERS_FIGURES}.{checked.replace('-', '_')}"
            # Absent rather than 0, so that a line without third parties reads as not assessed instead of failed.
            if count:
                self._found[name] = Estimate.exact(float(count), "1", method)

    def get(self, rule: Rule) -> Estimate | None:
        """Return the figure that a rule reads; None if it was not assessed."""
        return self._found.get(rule.name)

    def holds(self, text: str) -> bool:
        """Return whether a rule earns all points; a missing figure earns none."""
        rule = parse_rule(text)
        found = self.get(rule)
        return found is not None and rule.share(found) == 1.0


def agreeing(records: Records, checked: str) -> tuple[Countersigned, ...]:
    """Return the third parties that checked at least that thoroughly and agree; none if any of them disagrees."""
    words = records.of(Countersigned)
    makers = {statement.key for statement in records.of(Counted)}
    # One third party that disagrees outweighs all that agree, because a maker would publish only the agreeing ones.
    if any(not word.agrees for word in words):
        return ()
    # Measuring again includes deriving again, so it counts for both.
    enough = ("reproduced",) if checked == "reproduced" else ("cross-checked", "reproduced")
    return tuple(word for word in words if word.checked in enough and word.key not in makers)


def credit_lines(
    records: Records, edition: ScorecardEdition, contradicted: Mapping[str, str] | None = None
) -> tuple[Line, ...]:
    """Return the result of every credit, in the order of the edition.

    Args:
        records: counted statements.
        edition: rules of the count.
        contradicted: credits that earn nothing whatever their figure, with the reason; see ``findings``.
    """
    figures, out = Figures(records), out_of_scope(records, edition)
    return tuple(
        _line(name, credit, records, figures, out, (contradicted or {}).get(name))
        for name, credit in edition.credits.items()
    )


def out_of_scope(records: Records, edition: ScorecardEdition) -> Mapping[str, str]:
    """Return the pillars that do not apply, with the reason; one that must not be scoped out still applies."""
    figures = Figures(records)
    found = {}
    for name, reason in records.header.scoped_out.items():
        rule = edition.pillars[name].scope_out if name in edition.pillars else ""
        # Only grounds that the edition names remove a pillar, so that a maker cannot scope out what they would fail.
        if rule == ALWAYS or (rule and figures.holds(rule)):
            found[name] = reason
    return found


def _line(
    name: str, credit: Credit, records: Records, figures: Figures, out: Mapping[str, str], contradicted: str | None
) -> Line:
    rule = parse_rule(credit.rule)
    source = rule.assessment if records.statement(rule.assessment) is not None else None
    # In order of precedence: each reason below explains why the figures of the statement do not count.
    if credit.pillar in out:
        return Line(name, credit, 0.0, "not applicable", f"According to the maker: {out[credit.pillar]}", None)
    if contradicted:
        return Line(name, credit, 0.0, "failed", contradicted, source)
    if rule.assessment in figures.refused:
        return Line(name, credit, 0.0, "failed", f"The {rule.assessment} statement is a refusal.", source)
    if rule.assessment in figures.refuted:
        return Line(name, credit, 0.0, "failed", figures.refuted[rule.assessment], source)
    if rule.assessment in of_another_baseline(records):
        why = f"The {rule.assessment} statement has another baseline than the efficiency certificate."
        return Line(name, credit, 0.0, "failed", why, source)
    found = figures.get(rule)
    words = [
        statement for statement in records.of(Attested) if statement.credit == name and _independent(statement, records)
    ]
    # A declaration is handled below, because it earns points only if a third party attests to it.
    if found is not None and rule.kind != "declaration":
        points = round(credit.points * rule.share(found), DIGITS)
        return Line(name, credit, points, "measured" if points else "failed", reason(rule, credit.reads, found), source)
    stated = parse_rule(credit.attested_rule) if credit.attested_rule else None
    claim = None if stated is None else figures.get(stated)
    # If attestations have a separate rule, one counts only together with the claim that it attests.
    if credit.attestable and words and (stated is None) == (claim is None):
        share = 1.0 if stated is None or claim is None else stated.share(claim)
        what = "" if stated is None or claim is None else f"{reason(stated, credit.reads, claim)} "
        half, earned = round(HALF * credit.points * share, DIGITS), f"Attested by {words[0].name}, which earns half."
        return Line(name, credit, half, "attested" if half else "failed", f"{what}{earned}", source)
    if found is not None and found.low >= 1:
        return Line(name, credit, 0.0, "declared", "Only declared by the maker, which earns nothing.", source)
    if claim is not None:
        why = f"The {rule.assessment} statement only states {credit.reads}; its derivation needs the auditor file."
        return Line(name, credit, 0.0, "not assessed", why, source)
    return Line(name, credit, 0.0, "not assessed", f"No statement reports {credit.reads}.", None)


def _independent(attested: Attested, records: Records) -> bool:
    return attested.key not in {counted.key for counted in records.of(Counted)}


def reason(rule: Rule, reads: str, found: Estimate) -> str:
    """Return what a rule reads and requires, as a sentence."""
    what = reads[:1].upper() + reads[1:]
    if rule.end == EVIDENCE:
        return f"{what} is {found.evidence.value}."
    if rule.kind == "at_least" and reads.startswith("whether "):
        return f"{'Yes' if rule.share(found) else 'No'}, according to the {rule.assessment} statement."
    end = getattr(found, rule.end)
    unit = "" if found.unit == "1" else f" {found.unit}"
    written = "without bound" if math.isinf(end) else f"{end:.4g}{unit}"
    # An exact figure has no ends to choose between.
    which = "" if found.low == found.high else f", the {rule.end} end of {found.low:.4g} to {found.high:.4g}"
    if rule.kind == "at_least":
        return f"{what} is {written}{which}; {rule.full:g} is required."
    return f"{what} is {written}{which}; {rule.start:g} earns nothing and {rule.full:g} all points."


def prerequisites(
    records: Records, edition: ScorecardEdition, contradicted: Mapping[str, str] | None = None
) -> tuple[PrerequisiteResult, ...]:
    """Return the result of each prerequisite, in the order of the edition."""
    figures = Figures(records)
    return tuple(
        _prerequisite(name, prerequisite, figures, (contradicted or {}).get(name))
        for name, prerequisite in edition.prerequisites.items()
    )


def _prerequisite(
    name: str, prerequisite: Prerequisite, figures: Figures, contradicted: str | None
) -> PrerequisiteResult:
    if contradicted:
        return PrerequisiteResult(name, prerequisite, "contradicted", contradicted)
    if prerequisite.unless and figures.holds(prerequisite.unless):
        source = parse_rule(prerequisite.unless).assessment
        return PrerequisiteResult(
            name, prerequisite, "not asked", f"Not required, according to the {source} statement."
        )
    rule = parse_rule(prerequisite.rule)
    found = figures.get(rule)
    if figures.holds(prerequisite.rule) and found is not None:
        return PrerequisiteResult(name, prerequisite, "met", reason(rule, prerequisite.reads, found))
    # Refuted and refused figures are not in `figures`, so without these branches the reason would read "not reported".
    if rule.assessment in figures.refuted:
        return PrerequisiteResult(name, prerequisite, "contradicted", figures.refuted[rule.assessment])
    if rule.assessment in figures.refused:
        return PrerequisiteResult(name, prerequisite, "missing", f"The {rule.assessment} statement is a refusal.")
    why = f"No statement reports {prerequisite.reads}." if found is None else reason(rule, prerequisite.reads, found)
    return PrerequisiteResult(name, prerequisite, "missing", why)
