"""The scorecard as a statement: points of a model, derived from the statements of all assessments about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from certify.assessment.assessment import Assessment, Facts, Surroundings, Version
from certify.assessment.claims import Claims, common_claims
from certify.assessment.editions import edition_files
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.core.estimate import Estimate
from certify.core.finding import Finding, FindingOutcome
from certify.scorecard import edition as editions
from certify.scorecard import records as record_files
from certify.scorecard.edition import PACKAGE, ScorecardEdition
from certify.scorecard.findings import INTEGRITY, judge
from certify.scorecard.levels import Score, format_points, score
from certify.scorecard.lines import Line, PrerequisiteResult
from certify.scorecard.records import Attested, Counted, Countersigned, Records
from certify.scorecard.sidecars import check_beside

PREDICATE_TYPE = "https://leanmark.org/secure/scorecard/v1"
POLICY = "https://leanmark.org/secure/editions/"
LIMITS = (
    "Points are counted from signed statements; only the signature of a certification scheme awards a level.",
    "The signer may have omitted statements; what nobody assessed is listed and earns nothing.",
    "Points may rest on third parties that the scorer trusts and the reader does not.",
)


class Scorecard(Assessment):
    """Points over all assessments of a model, according to an edition.

    Example:
        >>> Scorecard().load_edition("secure-2026").most
        100.0
    """

    name = "scorecard"
    title = "Scorecard after SECure"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("scorecard-1", "certify.scorecard")}
    rests_on_others = True
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return what was counted, in the form of SLSA's verification summary: policy, inputs by digest, no level."""
        header = records.header
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "verifier": {"id": "https://leanmark.org/certify", "version": {"leanmark": header.leanmark}},
            "timeVerified": header.created,
            "policy": {
                "uri": f"{POLICY}{header.edition}", "digest": {"sha256": header.edition_digest},
            },
            "inputAttestations": [
                *({"uri": statement.type, "digest": {"sha256": statement.sha256}} for statement in records.of(Counted)),
                *({"uri": _uri(word), "digest": {"sha256": word.sha256}} for word in records.words),
            ],
            "scopedOut": dict(header.scoped_out),
            # Only a scheme's mark awards a level, so the field that SLSA reserves for levels is always empty.
            "verifiedLevels": [],
        }  # fmt: skip

    def derive(self, records: Records, edition: ScorecardEdition) -> Mapping[str, Estimate]:
        """Count the points: in total, by pillar and by line."""
        return dict(_figures(score(records, edition)))

    def findings(self, records: Records, edition: ScorecardEdition) -> tuple[Finding, ...]:
        """Compare the statements with each other, and report the state of each line."""
        found = score(records, edition)
        prerequisites = (Finding(row.name, _outcome_of(row), row.sentence) for row in found.prerequisites)
        lines = (Finding(line.name, _outcome_of(line), f"{line.state}: {line.sentence}") for line in found.lines)
        return (*judge(records, edition), *prerequisites, *lines)

    def outcome(self, profile: Profile, edition: ScorecardEdition) -> ClaimOutcome:
        """Return the points; a refusal if the statements do not belong together."""
        failed = [guard for guard in profile.guards if guard.name in INTEGRITY and guard.outcome == "fail"]
        # Points of statements that do not belong together would be a sum over several models.
        if failed:
            return ClaimOutcome("refused", tuple(f"{finding.name}: {finding.sentence}" for finding in failed), ())
        points = profile["points"].value
        # A contradiction already costs points or a prerequisite; refusing as well would hide every other figure.
        notes = [
            guard.sentence for guard in profile.guards if guard.name == "no_contradiction" and guard.outcome == "fail"
        ]
        missing = [
            guard.name for guard in profile.guards if guard.outcome == "unknown" and guard.name in edition.credits
        ]
        notes += [f"Not assessed, declared or not applicable: {', '.join(missing)}."] if missing else []
        unmet = [
            guard.name for guard in profile.guards if guard.outcome == "fail" and guard.name in edition.prerequisites
        ]
        notes += [f"Prerequisites that are not met: {', '.join(unmet)}."] if unmet else []
        text = f"{format_points(points)} of {edition.most:g} points"
        return ClaimOutcome(text, (), tuple(notes))

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check that the statements next to the model, and the figures read from them, are those that were counted."""
        return check_beside(around)

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return no facts, since it only repeats those of other statements."""
        return Facts()

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed: points, never a level."""
        estimates = predicate["profile"]["estimates"]
        headlines = {name: words for name, words in HEADLINES.items() if name in estimates}
        common = common_claims(self, predicate, digest, headlines=headlines, limits=LIMITS)
        return Claims(**common, words={**WORDS, **_line_words(predicate["edition"]["name"])})


HEADLINES = {"points_assessed": "points assessed"}
WORDS = {"points": "points", "points_assessed": "points that the assessed lines are worth"}


def _figures(found: Score) -> Iterator[tuple[str, Estimate]]:
    method = f"sum over {len(found.lines)} credits, edition {found.edition.name}"
    yield "points", Estimate.exact(found.points, "1", method)
    yield "points_assessed", Estimate.exact(found.assessed, "1", "points that the assessed credits are worth")
    for name, points in found.pillars.items():
        yield f"points_{name}", Estimate.exact(points, "1", f"of {found.edition.pillars[name].points:g}")
    for line in found.lines:
        yield f"line_{line.name.lower()}", Estimate.exact(line.points, "1", f"{line.credit.rule} times its points")


def _line_words(edition: str) -> dict[str, str]:
    # The edition's name comes from the statement, so it may be one that this version does not know.
    if edition not in edition_files(PACKAGE):
        return {}  # reported by verification
    found = editions.load_edition(edition)
    pillars = {f"points_{name}": pillar.title for name, pillar in found.pillars.items()}
    return {**pillars, **{f"line_{name.lower()}": credit.title for name, credit in found.credits.items()}}


OUTCOMES: Mapping[str, FindingOutcome] = {
    "measured": "pass", "attested": "pass", "met": "pass", "not asked": "pass", "failed": "fail", "missing": "fail",
    "contradicted": "fail", "declared": "unknown", "not assessed": "unknown", "not applicable": "unknown",
}  # fmt: skip


def _outcome_of(row: Line | PrerequisiteResult) -> FindingOutcome:
    return OUTCOMES[row.state]


def _uri(statement: Countersigned | Attested) -> str:
    kind = "countersignature" if isinstance(statement, Countersigned) else "attestation"
    return f"https://leanmark.org/secure/{kind}/v1"
