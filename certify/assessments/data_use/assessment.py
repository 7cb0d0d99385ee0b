"""Use-based privacy as an assessment: whether data were used as policy and consent permit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessment.assessment import Assessment, Version
from certify.assessment.claims import Claims, Costs, common_claims
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.data_use import edition as editions
from certify.assessments.data_use.edition import Edition
from certify.assessments.data_use.findings import judge
from certify.assessments.data_use.outcome import judge_claim
from certify.assessments.data_use.records import Records, dump_records, entries_of, join, parse_records
from certify.core.data_use.policy import UsePolicy
from certify.core.estimate import Estimate
from certify.core.finding import Finding
from certify.core.private_data import AuditorBinding, DataKey

PREDICATE_TYPE = "https://leanmark.org/secure/data-use/v1"

LIMITS = (
    "The policy, its legal basis, its suppliers and the receipts are stated by the data holder.",
    "What training read is known only from the journal, which lacks reads that bypass leanmark's loaders.",
    "A journal that its holder has deleted with the whole folder and begun again looks like a first one; that it does "
    "not continue earlier ones shows only beside an earlier statement.",
    "Copies of the data elsewhere, and what others do with the model, are not covered.",
    "Keyed identifiers are pseudonyms, not anonymous.",
)


class DataUse(Assessment):
    """Whether a model's data were used as their policy, and the people in them, permit."""

    name = "data_use"
    title = "Use of the data"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("data-use-1", "certify.assessments.data_use")}
    parse = staticmethod(parse_records)
    dump = staticmethod(dump_records)
    load_edition = staticmethod(editions.load_edition)

    def subject(self, records: Records) -> Mapping[str, str]:
        """Return the digests of the model."""
        return records.header.model

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the use with all its terms, and the policy in words."""
        header = records.header
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "use": {
                "purpose": header.purpose, "recipient": header.recipient, "actions": list(header.actions),
                "root": header.root, "journal": header.journal, "consent": header.consent,
            },
            "policy": {"digest": header.policy, "terms": records.policy.to_json()},
            "statement": list(statement(records.policy, header.purpose)),
        }  # fmt: skip

    def auditor(self, records: Records) -> AuditorBinding | None:
        """Return the binding of the auditor file."""
        return None if records.header.auditor is None else AuditorBinding.from_json(records.header.auditor)

    def joined(self, records: Records, content: bytes, key: DataKey) -> Records:
        """Return the records with identifiers and receipts."""
        return join(records, content, key)

    def derive(self, records: Records, edition: Edition) -> Mapping[str, Estimate]:
        """Count decisions; the number of records stays out of public figures."""
        decisions = entries_of(records, "decision")
        refused = sum(decision.get("permitted") is not True for decision in decisions)
        counts = {"decisions": len(decisions), "decisions_refused": refused}
        return {name: Estimate.exact(float(count), "1", "lines of the journal") for name, count in counts.items()}

    def findings(self, records: Records, edition: Edition) -> tuple[Finding, ...]:
        """Run every check."""
        return judge(records)

    def outcome(self, profile: Profile, edition: Edition) -> ClaimOutcome:
        """Evaluate the claim."""
        return judge_claim(profile, edition)

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the profile's figures, whether the policy was kept and, if rows show it, whether withdrawals were."""
        profile = Profile.from_json(predicate["profile"])
        method = "1 for yes, by the findings of the statement"
        found = {**profile.estimates, "policy_bound": Estimate.exact(float(_is_policy_bound(profile)), "1", method)}
        withdrawn = profile.guard("withdrawn_excluded")
        if withdrawn is not None and withdrawn.outcome != "unknown":
            found["withdrawals_honoured"] = Estimate.exact(float(withdrawn.outcome == "pass"), "1", method)
        return found

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed."""
        common = common_claims(self, predicate, digest, headlines={"decisions": "decisions"}, limits=LIMITS)
        return Claims(**{**common, "notes": (*predicate["statement"], *common["notes"])})


def _is_policy_bound(profile: Profile) -> bool:
    guards = [profile.guard(name) for name in ("policy_bound", "decisions_follow", "actions_permitted")]
    return all(finding is not None and finding.outcome == "pass" for finding in guards)


def statement(policy: UsePolicy, purpose: str) -> tuple[str, ...]:
    """Return a policy in words, as stated."""
    suppliers = "; ".join(f"{supplier.name} ({supplier.how})" for supplier in policy.suppliers) or "not stated"
    consent = "only with a receipt" if policy.consent == "required" else "unless it was withdrawn"
    ends = "without a time limit" if policy.retention is None else f"until {policy.retention}"
    sale = "may not be sold" if policy.no_sale else "may be sold if a rule permits it"
    return (
        f"The data of {policy.controller} were used for {purpose} under the policy {policy.name}.",
        f"Stated: legal basis {policy.legal_basis}; supplied by {suppliers}.",
        f"Stated: records are used {consent}, the data are kept {ends}, and they {sale}.",
    )
