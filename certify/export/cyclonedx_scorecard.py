"""A scorecard as CycloneDX has it: credits as requirements with their points, levels, and the share that was earned.

A level is described, never awarded: who may award one, a scheme's mark says, which no export holds.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from certify.assessment.claims import Claims
from certify.core.errors import UsageError
from certify.core.finding import Finding
from certify.scorecard.edition import Credit, Level, ScorecardEdition, load_edition

SCORECARD = "scorecard"
CONFIDENCE = 0.95
"""Of the intervals by whose pessimistic end points are earned."""
TIME = "%Y-%m-%dT%H:%M:%SZ"


def edition_of(claims: Claims) -> ScorecardEdition | None:
    """The edition of a scorecard; None of another statement, or where this leanmark does not know the edition."""
    if claims.assessment != SCORECARD:
        return None
    try:
        return load_edition(claims.edition.name)
    except UsageError:
        return None


def pillars(edition: ScorecardEdition) -> Iterator[dict[str, Any]]:
    """A requirement for every pillar, of which its credits are the parts."""
    for name, pillar in edition.pillars.items():
        yield {
            "bom-ref": f"requirement:{SCORECARD}:pillar:{name}",
            "identifier": f"{SCORECARD}.{name}",
            "title": pillar.title,
            "properties": [{"name": "leanmark:points", "value": f"{pillar.points:g}"}],
        }


def described(edition: ScorecardEdition, finding: Finding) -> dict[str, Any]:
    """What a requirement says besides its name: of a credit its rule and points, of a prerequisite its rule."""
    one = edition.credits.get(finding.name) or edition.prerequisites.get(finding.name)
    if one is None:
        return {}
    found: dict[str, Any] = {"title": one.title, "text": one.reads, "descriptions": [one.why]}
    points = one.points if isinstance(one, Credit) else 0
    facts = {"rule": one.rule, "points": f"{points:g}"}
    if isinstance(one, Credit):
        found["parent"] = f"requirement:{SCORECARD}:pillar:{one.pillar}"
    found["properties"] = [{"name": f"leanmark:{name}", "value": value} for name, value in facts.items()]
    return found


def levels(edition: ScorecardEdition) -> list[dict[str, Any]]:
    """What each level asks; which of them a model has is not said here."""
    asked = [f"requirement:{SCORECARD}:{name}" for name in (*edition.prerequisites, *edition.credits)]
    return [
        {
            "bom-ref": f"level:{name}",
            "identifier": name,
            "title": name.capitalize(),
            "description": _asks(level),
            "requirements": asked,
        }
        for name, level in edition.levels.items()
    ]


def _asks(level: Level) -> str:
    floors = ", ".join(f"{points:g} of {pillar}" for pillar, points in level.floors.items())
    parts = [f"All prerequisites; {level.total:g} points, at least {floors}"]
    parts += [f"{level.signer} by somebody else"] if level.signer != "self-attested" else []
    parts += ["metered energy"] if level.metered else []
    return f"{'; '.join(parts)}. Awarded by a scheme's mark alone."


def earned(edition: ScorecardEdition, claims: Claims, finding: Finding) -> dict[str, Any] | None:
    """Conformance and confidence of a credit: the share of its points; None of anything else."""
    credit, points = edition.credits.get(finding.name), claims.figures.get(f"line_{finding.name.lower()}")
    if credit is None or points is None:
        return None
    rationale = f"{points.value:g} of {credit.points:g} points. {finding.sentence}"
    row: dict[str, Any] = {"conformance": {"score": points.value / credit.points, "rationale": rationale}}
    if finding.outcome == "pass" and credit.rule.startswith("linear"):
        told = "Earned by the pessimistic end of a 95 % interval."
        row["confidence"] = {"score": CONFIDENCE, "rationale": told}
    return row


def expires(edition: ScorecardEdition, created: str) -> str:
    """When evidence has to be measured again."""
    began = datetime.datetime.strptime(created, TIME)
    return (began + datetime.timedelta(days=edition.valid_days)).strftime(TIME)
