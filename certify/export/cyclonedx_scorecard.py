"""A scorecard in CycloneDX: credits as requirements with their points, levels, and the earned share.

Levels are described, never awarded: only a scheme's mark awards one, and exports do not contain marks.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from certify.assessment.claims import Claims
from certify.core.data_use.times import TIME, parse_time
from certify.core.errors import UsageError
from certify.core.finding import Finding
from certify.scorecard.edition import Credit, Level, ScorecardEdition, load_edition

SCORECARD = "scorecard"
CONFIDENCE = 0.95
"""Confidence of the intervals whose pessimistic end earns points."""


def edition_of(claims: Claims) -> ScorecardEdition | None:
    """Return the edition of a scorecard; None for another statement or an unknown edition."""
    if claims.assessment != SCORECARD:
        return None
    try:
        return load_edition(claims.edition.name)
    # The edition is newer than this version of leanmark, so the statements are exported without points.
    except UsageError:
        return None


def pillars(edition: ScorecardEdition) -> Iterator[dict[str, Any]]:
    """Yield a requirement for every pillar, with its credits as parts."""
    for name, pillar in edition.pillars.items():
        yield {
            "bom-ref": f"requirement:{SCORECARD}:pillar:{name}",
            "identifier": f"{SCORECARD}.{name}",
            "title": pillar.title,
            "properties": [{"name": "leanmark:points", "value": f"{pillar.points:g}"}],
        }


def described(edition: ScorecardEdition, finding: Finding) -> dict[str, Any]:
    """Return the rule and points of a credit, or the rule of a prerequisite."""
    rule = edition.credits.get(finding.name) or edition.prerequisites.get(finding.name)
    if rule is None:
        return {}
    found: dict[str, Any] = {"title": rule.title, "text": rule.reads, "descriptions": [rule.why]}
    points = rule.points if isinstance(rule, Credit) else 0
    facts = {"rule": rule.rule, "points": f"{points:g}"}
    if isinstance(rule, Credit):
        found["parent"] = f"requirement:{SCORECARD}:pillar:{rule.pillar}"
    found["properties"] = [{"name": f"leanmark:{name}", "value": value} for name, value in facts.items()]
    return found


def levels(edition: ScorecardEdition) -> list[dict[str, Any]]:
    """Return the requirements of each level, without saying which level a model has."""
    requirements = [f"requirement:{SCORECARD}:{name}" for name in (*edition.prerequisites, *edition.credits)]
    return [
        {
            "bom-ref": f"level:{name}",
            "identifier": name,
            "title": name.capitalize(),
            "description": _level_requirements(level),
            "requirements": requirements,
        }
        for name, level in edition.levels.items()
    ]


def _level_requirements(level: Level) -> str:
    floors = ", ".join(f"{points:g} of {pillar}" for pillar, points in level.floors.items())
    parts = [f"All prerequisites; {level.total:g} points, at least {floors}"]
    parts += [f"{level.signer} by a third party"] if level.signer != "self-attested" else []
    parts += ["metered energy"] if level.metered else []
    return f"{'; '.join(parts)}. Awarded only by a scheme's mark."


def earned(edition: ScorecardEdition, claims: Claims, finding: Finding) -> dict[str, Any] | None:
    """Return conformance and confidence of a credit, the share of its points; None for anything else."""
    credit, points = edition.credits.get(finding.name), claims.figures.get(f"line_{finding.name.lower()}")
    if credit is None or points is None:
        return None
    rationale = f"{points.value:g} of {credit.points:g} points. {finding.sentence}"
    row: dict[str, Any] = {"conformance": {"score": points.value / credit.points, "rationale": rationale}}
    # Only rules that read the end of an interval have a confidence; an attestation or a "yes" has none.
    if finding.outcome == "pass" and credit.rule.startswith("linear"):
        message = "Earned by the pessimistic end of a 95 % interval."
        row["confidence"] = {"score": CONFIDENCE, "rationale": message}
    return row


def expires(edition: ScorecardEdition, created: str) -> str:
    """Return when evidence must be measured again."""
    return (parse_time(created) + datetime.timedelta(days=edition.valid_days)).strftime(TIME)
