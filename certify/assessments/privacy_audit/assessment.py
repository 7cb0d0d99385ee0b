"""The privacy audit as an assessment: findings of attacks on a model and its twins about the training data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from certify.assessment.assessment import Assessment, Surroundings, Version
from certify.assessment.claims import Costs, common_claims, presenting
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.privacy_audit import edition as editions
from certify.assessments.privacy_audit import records as record_files
from certify.assessments.privacy_audit.claims import AuditClaims
from certify.assessments.privacy_audit.edition import Edition
from certify.assessments.privacy_audit.figures import DELTA, SHOWABLE, SHOWN, estimates
from certify.assessments.privacy_audit.findings import judge
from certify.assessments.privacy_audit.outcome import is_valid, judge_audit
from certify.assessments.privacy_audit.records import Canaries, Records
from certify.assessments.privacy_audit.withholding import join
from certify.core.estimate import Estimate
from certify.core.files import sha256_file
from certify.core.finding import Finding
from certify.core.private_data import AuditorBinding, DataKey

PREDICATE_TYPE = "https://leanmark.org/secure/privacy-audit/v1"
LINEAGE = "lineage.json"
LIMITS = (
    "An audit can refute a claim of epsilon but never prove one: stronger attacks may find more.",
    "Scores are the auditor's word; that coins were committed to first is shown only if the commitment was published.",
    "Shadow models and canary twins read the training data again; no privacy statement's epsilon includes these reads.",
    "Membership is measured on the given samples, on average; individual people may be easier to find.",
    "Inversion of a model is not assessed: there is no accepted measure of it.",
)
HEADLINES = {
    "membership_auc_baseline": "membership, area before",
    "membership_auc_candidate": "membership, area after",
    "membership_auc_pair": "membership, area by both files",
    SHOWN: "epsilon that canaries show, at least",
    SHOWABLE: "epsilon that they could show",
}


class PrivacyAudit(Assessment):
    """Findings of attacks on the training data of a model: membership, canaries, extraction.

    Example:
        >>> PrivacyAudit().load_edition("2026").false_alarm_rates
        (0.001, 0.01)
    """

    name = "privacy_audit"
    title = "Attacks on the training data"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("privacy-audit-1", "certify.assessments.privacy_audit")}
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return what was audited, and the terms to which the canaries were committed."""
        header = records.header
        fixed: Canaries | None = records.first(Canaries)
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "baseline": None if header.baseline is None else asdict(header.baseline),
            "audit": {
                "data": header.data,
                "private": header.private,
                "recipe": header.recipe,
                "parts": list(header.parts),
                "lineage": header.lineage,
            },
            "canaries": None if fixed is None else asdict(fixed),
        }

    def auditor(self, records: Records) -> AuditorBinding | None:
        """Return the binding of the auditor file."""
        return None if records.header.auditor is None else AuditorBinding.from_json(records.header.auditor)

    def joined(self, records: Records, content: bytes, key: DataKey) -> Records:
        """Return the records with scores, coins and tables."""
        return join(records, content, key)

    def derive(self, records: Records, edition: Edition) -> Mapping[str, Estimate]:
        """Derive every figure."""
        return estimates(records, edition)

    def findings(self, records: Records, edition: Edition) -> tuple[Finding, ...]:
        """Run every check."""
        return judge(records, edition)

    def outcome(self, profile: Profile, edition: Edition) -> ClaimOutcome:
        """Judge the audit."""
        return judge_audit(profile, edition)

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check that the lineage next to the model is the one whose recipe was repeated."""
        stated = around.predicate["audit"]["lineage"]
        path = next((folder / LINEAGE for folder in around.folders if (folder / LINEAGE).is_file()), None)
        name = "audited_lineage"
        if stated is None or path is None:
            yield Finding(name, "skipped", f"{LINEAGE} is not named, or is not next to the model.")
        elif sha256_file(path) != stated:
            yield Finding(name, "fail", f"{path.name} is not the lineage of the repeated recipe.")
        else:
            yield Finding(name, "pass", f"The repeated recipe is that of {path.name}.")

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the profile's figures, and the delta for which the canaries of a valid audit bound epsilon."""
        found, fixed = super().figures(predicate, lineage, later), predicate["canaries"]
        # A bound from an invalid audit must not refute anything, so a scorecard does not get it.
        if fixed is None or not is_valid(Profile.from_json(predicate["profile"]).guards):
            return {name: estimate for name, estimate in found.items() if name != SHOWN}
        return {**found, DELTA: Estimate.exact(fixed["delta"], "1", "for which the canaries bound epsilon")}

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the names of model and data."""
        return {**super().texts(predicate), "data's name": predicate["audit"]["data"]}

    def claims(self, predicate: Mapping[str, Any], digest: str) -> AuditClaims:
        """Return what may be printed."""
        figures = predicate["profile"]["estimates"]
        headlines = {name: words for name, words in HEADLINES.items() if name in figures}
        # Without a summary figure, the first figure is the headline.
        first = {name: name.replace("_", " ") for name in list(figures)[:1]}
        common = common_claims(self, predicate, digest, headlines=headlines or first, limits=LIMITS)
        with presenting("claims"):
            fixed = predicate["canaries"]
            delta = None if fixed is None else float(fixed["delta"])
            lineage = predicate["audit"]["lineage"]
            return AuditClaims(**common, delta=delta, audited_lineage=lineage, text_has_figures=True)
