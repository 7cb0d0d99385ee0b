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
class Asked:
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
        self.refused = {one.assessment for one in records.of(Counted) if one.refused}
        self.refuted = refuted(records)
        self._found: dict[str, Estimate] = {}
        for one in records.of(Counted):
            if not one.refused and one.assessment not in self.refuted:
                self._found |= {f"{one.assessment}.{name}": found for name, found in one.estimates().items()}
        for checked in ("cross-checked", "reproduced"):
            count = len(agreeing(records, checked))
            method = f"keys of others by whom it was {checked}"
            name = f"{SIGNERS_FIGURES}.{checked.replace('-', '_')}"
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
    makers = {one.key for one in records.of(Counted)}
    if any(not one.agrees for one in words):
        return ()
    enough = ("reproduced",) if checked == "reproduced" else ("cross-checked", "reproduced")
    return tuple(one for one in words if one.checked in enough and one.key not in makers)


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
        if rule == ALWAYS or (rule and figures.holds(rule)):
            found[name] = reason
    return found


def _line(
    name: str, credit: Credit, records: Records, figures: Figures, out: Mapping[str, str], contradicted: str | None
) -> Line:
    rule = parse_rule(credit.rule)
    source = rule.assessment if records.statement(rule.assessment) is not None else None
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
    words = [one for one in records.of(Attested) if one.credit == name and _independent(one, records)]
    if found is not None and rule.kind != "declaration":
        points = round(credit.points * rule.share(found), DIGITS)
        return Line(name, credit, points, "measured" if points else "failed", reason(rule, credit.reads, found), source)
    stated = parse_rule(credit.attested_rule) if credit.attested_rule else None
    claim = None if stated is None else figures.get(stated)
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


def _independent(one: Attested, records: Records) -> bool:
    return one.key not in {counted.key for counted in records.of(Counted)}


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
    which = "" if found.low == found.high else f", the {rule.end} end of {found.low:.4g} to {found.high:.4g}"
    if rule.kind == "at_least":
        return f"{what} is {written}{which}; {rule.full:g} is required."
    return f"{what} is {written}{which}; {rule.start:g} earns nothing and {rule.full:g} all points."


def prerequisites(
    records: Records, edition: ScorecardEdition, contradicted: Mapping[str, str] | None = None
) -> tuple[Asked, ...]:
    """Return the result of each prerequisite, in the order of the edition."""
    figures = Figures(records)
    return tuple(
        _asked(name, one, figures, (contradicted or {}).get(name)) for name, one in edition.prerequisites.items()
    )


def _asked(name: str, one: Prerequisite, figures: Figures, contradicted: str | None) -> Asked:
    if contradicted:
        return Asked(name, one, "contradicted", contradicted)
    if one.unless and figures.holds(one.unless):
        source = parse_rule(one.unless).assessment
        return Asked(name, one, "not asked", f"Not required, according to the {source} statement.")
    rule = parse_rule(one.rule)
    found = figures.get(rule)
    if figures.holds(one.rule) and found is not None:
        return Asked(name, one, "met", reason(rule, one.reads, found))
    if rule.assessment in figures.refuted:
        return Asked(name, one, "contradicted", figures.refuted[rule.assessment])
    if rule.assessment in figures.refused:
        return Asked(name, one, "missing", f"The {rule.assessment} statement is a refusal.")
    why = f"No statement reports {one.reads}." if found is None else reason(rule, one.reads, found)
    return Asked(name, one, "missing", why)
