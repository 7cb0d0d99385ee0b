"""Privacy as an assessment: what a model can reveal about any one unit of its training data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from certify.assessment.assessment import Assessment, Surroundings, Version
from certify.assessment.claims import Claims, common_claims
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.privacy import edition as editions
from certify.assessments.privacy.edition import Edition
from certify.assessments.privacy.figures import EPSILON, STATED, estimates
from certify.assessments.privacy.findings import judge
from certify.assessments.privacy.outcome import judge_claim
from certify.assessments.privacy.record_file import dump_records, parse_records
from certify.assessments.privacy.records import Records
from certify.assessments.privacy.sidecars import beside
from certify.assessments.privacy.withholding import join
from certify.assessments.privacy.words import statement
from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.core.private_data import AuditorBinding, DataKey

PREDICATE_TYPE = "https://leanmark.org/secure/privacy/v1"

LIMITS = (
    "Records cannot prove that noise was really added from the system's entropy; an audit with canaries can refute it.",
    "Which data are public, and the number of training runs, rest on the maker's word.",
    "The ledger, epsilon and the number of runs do not include shadow models and canary twins: an audit trains them on "
    "the same data and records their reads, and they never ship.",
    "Epsilon does not cover accuracy on a private test set or the results of attacks on the model.",
    "Differential privacy is not anonymity in law, and does not cover how the data were collected.",
)


class Privacy(Assessment):
    """Differential privacy of a model, derived from a ledger of everything that read the private data."""

    name = "privacy"
    title = "Privacy of the training data"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("privacy-1", "certify.assessments.privacy")}
    parse = staticmethod(parse_records)
    dump = staticmethod(dump_records)
    load_edition = staticmethod(editions.load_edition)

    def subject(self, records: Records) -> Mapping[str, str]:
        """Return the digests of the model."""
        return records.header.model

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the claim with all its terms: parameters, mechanisms, assumptions, and a text in words."""
        header = records.header
        claim = {name: value for name, value in asdict(header).items() if name in CLAIMED}
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "claim": {**claim, "private_parts": list(header.private_parts)},
            "mechanisms": [_mechanism(mechanism) for mechanism in records.mechanisms],
            "sources": [asdict(source) for source in records.sources],
            "choices": [asdict(choice) for choice in records.choices],
            "statement": list(statement(records)),
        }

    def auditor(self, records: Records) -> AuditorBinding | None:
        """Return the binding of the auditor file."""
        return None if records.header.auditor is None else AuditorBinding.from_json(records.header.auditor)

    def joined(self, records: Records, content: bytes, key: DataKey) -> Records:
        """Return the records with batch sizes, identifiers and rates."""
        return join(records, content, key)

    def derive(self, records: Records, edition: Edition) -> Mapping[str, Estimate]:
        """Derive epsilon and the other figures."""
        return estimates(records)

    def findings(self, records: Records, edition: Edition) -> tuple[Finding, ...]:
        """Run every check."""
        return judge(records, edition)

    def outcome(self, profile: Profile, edition: Edition) -> ClaimOutcome:
        """Evaluate the claim."""
        return judge_claim(profile, edition)

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Compare the ledger with the lineage, and check that no public file reveals private data."""
        yield from beside(around)

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed: never a bare epsilon."""
        figures = predicate["profile"]["estimates"]
        headline = EPSILON if EPSILON in figures else STATED
        headlines = {headline: "epsilon" if headline == EPSILON else "stated epsilon", "delta": "delta"}
        common = common_claims(self, predicate, digest, headlines=headlines, limits=LIMITS)
        notes = (*predicate["statement"], *common["notes"])
        return Claims(**{**common, "notes": notes, "text_has_figures": True})


CLAIMED = ("claimed_epsilon", "delta", "unit", "contribution_bound", "adjacency", "units", "trust_model", "attempts",
           "lineage")  # fmt: skip
"""Fields of the header that the statement repeats."""


def _mechanism(mechanism: Any) -> dict[str, Any]:
    values = asdict(mechanism)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
