"""The declarations: a maker's own statements about a model, kept apart from measurements and worth no points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from certify.assessment.assessment import Assessment, Facts, Version
from certify.assessment.claims import Costs, common_claims, presenting
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.declarations import edition as editions
from certify.assessments.declarations import records as record_files
from certify.assessments.declarations.claims import DeclarationClaims
from certify.assessments.declarations.declaration import BIAS_CLAUSE, CLAUSES, Declaration, texts_of
from certify.assessments.declarations.edition import DeclarationsEdition
from certify.assessments.declarations.findings import CONSISTENT, REQUIRED, judge_findings
from certify.assessments.declarations.questions import applicable, silent
from certify.assessments.declarations.records import Overlap, PartCounts, Records
from certify.assessments.declarations.words import hits
from certify.core.estimate import Estimate
from certify.core.finding import Finding

PREDICATE_TYPE = "https://leanmark.org/secure/declarations/v1"
LIMITS = (
    "These are the maker's words. A signature says who said them, not that they are true, and they earn no points.",
    "Only names are searched for words about people and faces; finding none proves nothing.",
    "The Safe Face Pledge was closed in 2021 and cannot be signed; its clauses are answered as questions.",
)
COUNTED = ("context", "recourse", "datasheet", "safe_face")
"""Sections whose answers are also counted separately."""
WORDS = {
    "asked": "questions asked",
    "answered": "answered",
    "contradictions": "contradictions",
    "questions_raised": "names in the data that raise a question",
}


class Declarations(Assessment):
    """Maker's statements about use, harm, recourse, labour and data, cross-checked where possible.

    Example:
        >>> Declarations().load_edition("2026").least_counted
        5
    """

    name = "declarations"
    title = "What the maker says"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("declarations-1", "certify.assessments.declarations")}
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the header, the maker's file and its digest, and a summary of the counts."""
        header = records.header
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "data": {
                "name": header.data.name,
                "test_digest": header.data.test_digest,
                "parts": [_summary(counts) for counts in records.of(PartCounts)],
                "overlaps": [asdict(overlap) for overlap in records.of(Overlap)],
            },
            "file": {"sha256": records.file.sha256},
            "declared": records.declared.to_json(),
        }

    def derive(self, records: Records, edition: DeclarationsEdition) -> Mapping[str, Estimate]:
        """Count questions, answers, contradictions, and names that raise a question."""
        declared = records.declared
        failed = [finding for finding in judge_findings(records, edition) if _contradicts(finding)]
        counts = {
            "asked": len(applicable(declared)),
            "answered": len(applicable(declared)) - len(silent(declared)),
            "contradictions": len(failed),
            "questions_raised": len(hits(records, edition)),
        }
        for section in COUNTED:
            every = len(applicable(declared, section))
            counts[f"{section}_asked"] = every
            counts[f"{section}_answered"] = every - len(silent(declared, section))
        return {name: Estimate.exact(count, "1", "count") for name, count in counts.items()}

    def findings(self, records: Records, edition: DeclarationsEdition) -> tuple[Finding, ...]:
        """Check what is stated, what is required, and what names in the data contradict."""
        return judge_findings(records, edition)

    def outcome(self, profile: Profile, edition: DeclarationsEdition) -> ClaimOutcome:
        """Return the declaration about people and faces; a refusal if required clauses are not answered.

        A contradiction is not a refusal, but it is shown first.
        """
        refused = tuple(
            f"{guard.name}: {guard.sentence}"
            for guard in profile.guards
            if guard.name == REQUIRED and guard.outcome == "fail"
        )
        if refused:
            return ClaimOutcome("refused", refused, ())
        wrong = [guard for guard in profile.guards if _contradicts(guard)]
        where = ", ".join(finding.name.removesuffix(CONSISTENT) for finding in wrong)
        text = "; ".join([*([f"CONTRADICTED in {where}"] if wrong else []), *_text(profile)])
        return ClaimOutcome(text, (), tuple(finding.sentence for finding in wrong))

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the counts, and yes (1) or no (0) for each question of a scorecard."""
        profile = Profile.from_json(predicate["profile"])
        return {**profile.estimates, **yes_or_no(Declaration.from_json(predicate["declared"]), profile)}

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return lineage and test data."""
        return replace(super().facts(predicate), test_data=predicate["data"]["test_digest"])

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the names of model, data and signatories; other texts may be in any script."""
        people = {
            f"name of a signer, {place}": text for place, text in texts_of(predicate["declared"].get("signed_by", []))
        }
        return {**super().texts(predicate), "data's name": predicate["data"]["name"], **people}

    def claims(self, predicate: Mapping[str, Any], digest: str) -> DeclarationClaims:
        """Return what may be printed."""
        headlines = {name: WORDS[name] for name in ("asked", "answered")}
        common = common_claims(self, predicate, digest, headlines=headlines, limits=LIMITS)
        with presenting("claims"):
            data = predicate["data"]
            return DeclarationClaims(
                **common,
                words=WORDS,
                declared=Declaration.from_json(predicate["declared"]),
                known=tuple(data["parts"]),
                data_name=data["name"],
            )


def _contradicts(finding: Finding) -> bool:
    return finding.name.endswith(CONSISTENT) and finding.outcome == "fail"


def yes_or_no(declared: Declaration, profile: Profile) -> dict[str, Estimate]:
    """Return whether something is declared, by the name of the figure that a scorecard reads.

    Args:
        declared: the maker's declarations.
        profile: profile with the checks; if a name in the data contradicts a declaration, the strictest answer counts.
    """
    # A contradicted "no" counts as the strictest answer.
    wrong = {guard.name.removesuffix(CONSISTENT) for guard in profile.guards if _contradicts(guard)}
    # A scorecard reads figures only, so every declaration it uses is a 0 or 1.
    people = "judged" if "people" in wrong else declared.people_taken_as
    clause = declared.safe_face.get(BIAS_CLAUSE)
    answers = {
        "people_none": people == "none",
        "people_not_judged": people != "judged",
        "faces_no": declared.faces_taken_as == "no" and "faces" not in wrong,
        "context_complete": not silent(declared, "context", "recourse"),
        "datasheets_complete": not silent(declared, "datasheet"),
        "pledge_complete": set(declared.safe_face) == set(CLAUSES),
        "affected_people_asked": None not in (declared.stakeholders.heard, declared.stakeholders.how),
        "bias_evaluation_claimed": clause is not None and clause.answer == "yes",
    }
    return {name: Estimate.exact(int(holds), "1", "declared") for name, holds in answers.items()}


def _text(profile: Profile) -> Iterator[str]:
    found = {name: profile.guard(name) for name in ("people", "faces")}
    parts = []
    for name, finding in found.items():
        if finding is not None:
            parts.append(f"{name} {finding.sentence.rstrip('.').rpartition(': ')[2]}" if finding.outcome == "pass"
                        else f"{name} not stated")  # fmt: skip
    yield ", ".join(parts)


def _summary(part: PartCounts) -> dict[str, Any]:
    counts = list(part.classes.values())
    return {
        "part": part.part,
        "samples": part.samples,
        "digest": part.digest,
        "classes": len(counts),
        "smallest_class": min(counts, default=0),
        "largest_class": max(counts, default=0),
        "groups": {name: dict(values) for name, values in part.groups.items()},
    }
