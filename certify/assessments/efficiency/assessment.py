"""Efficiency as an assessment: energy against accuracy, the grade A to G."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from certify.assessment.agreement import Agreement
from certify.assessment.assessment import Assessment, Facts, Surroundings, Version
from certify.assessment.claims import Costs
from certify.assessment.profile import Profile
from certify.assessments.efficiency import edition as editions
from certify.assessments.efficiency.claims import EfficiencyClaims, efficiency_claims
from certify.assessments.efficiency.device_class import device_class
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.facts import check_facts
from certify.assessments.efficiency.grade import Grade, grade
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.payback import payback
from certify.assessments.efficiency.profile import figures
from certify.assessments.efficiency.remeasurement import compare_measurements
from certify.assessments.efficiency.withholding import join
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.finding import Finding
from certify.core.observations import Contracts
from certify.core.private_data import AuditorBinding, DataKey
from certify.core.run_observations import Simplified

PREDICATE_TYPE = "https://leanmark.org/secure/compute-efficiency/v1"


class Efficiency(Assessment):
    """Energy per inference of a model relative to its baseline, and its cost in accuracy."""

    name = "efficiency"
    title = "Energy against accuracy"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("certificate-1", "certify.assessments.efficiency")}
    result = "grade"
    accepted = "graded"
    sealed = True
    parse = staticmethod(parse_evidence)
    dump = staticmethod(evidence_bytes)
    load_edition = staticmethod(editions.load_edition)

    def subject(self, records: Evidence) -> Mapping[str, str]:
        """Return the digests of the candidate."""
        measured = records.header.models["candidate"]
        return {"sha256": measured.file_digest, "leanmarkContent": measured.content_digest}

    def repeated(self, records: Evidence) -> Mapping[str, Any]:
        """Return the fields of the evidence's header that the certificate repeats."""
        header = records.header
        baseline = header.models["baseline"]
        contracts = records.observation(Contracts.NAME) or {}
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "workload": asdict(header.workload),
            "workload_digest": header.workload.digest(),
            "device": dict(header.device),
            "meter": None if header.meter is None else asdict(header.meter),
            "data": dict(header.data),
            "baseline": {
                "file_digest": baseline.file_digest,
                "content_digest": baseline.content_digest,
                "origin": header.baseline_origin,
                "published": baseline.published,
                "simplified": _simplified(records.observed(Simplified)),
                "preprocess": contracts.get("baseline"),
                "contracts_differ": contracts.get("declared"),
            },
            "attempts": header.attempt,
            "libraries": dict(header.libraries),
        }

    def auditor(self, records: Evidence) -> AuditorBinding | None:
        """Return the binding of the auditor file of private data."""
        return None if records.header.auditor is None else AuditorBinding.from_json(records.header.auditor)

    def joined(self, records: Evidence, content: bytes, key: DataKey) -> Evidence:
        """Return the evidence with predictions and all observations."""
        return join(records, content, key)

    def derive(self, records: Evidence, edition: Edition) -> Mapping[str, Estimate]:
        """Derive every figure."""
        return figures(records, edition)

    def findings(self, records: Evidence, edition: Edition) -> tuple[Finding, ...]:
        """Run every guard."""
        return judge_guards(records, edition)

    def outcome(self, profile: Profile, edition: Edition) -> Grade:
        """Grade the profile."""
        return grade(profile, edition)

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check recorded facts against both files and the scored samples."""
        return check_facts(around)

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return every text that the label shows and that is not from a fixed vocabulary."""
        baseline, data, workload = (predicate[part] for part in ("baseline", "data", "workload"))
        meter = predicate["meter"] or {}
        found = {
            "baseline's origin": baseline["origin"],
            "reason why the contracts differ": baseline["contracts_differ"],
            "data's name": data["name"],
            "metric": data.get("metric"),
            **{f"device's {name}": value for name, value in predicate["device"].items()},
            **{f"meter's {name}": meter.get(name) for name in ("name", "scope", "method")},
            **{f"candidate's {name}": text for name, text in workload["candidate_runtime"].items()},
            **{f"workload's {name}": workload[name] for name in ("runtime", "runtime_version", "provider")},
        }
        return {**super().texts(predicate), **{what: text for what, text in found.items() if isinstance(text, str)}}

    def where(self, predicate: Mapping[str, Any]) -> str:
        """Return the class of devices on which the letter holds."""
        return device_class(predicate["device"], predicate["workload"])

    def is_repeat(self, first: Evidence, second: Evidence) -> bool:
        """Return whether both contain the same windows."""
        return first.windows == second.windows

    def agreement(self, first: Evidence, second: Evidence, edition: Edition) -> Agreement:
        """Test whether two measurements of one pair agree."""
        return compare_measurements(first, second, edition)

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the profile's figures, the score, whether a grade and a lineage exist, and the break-even point."""
        return scored_figures(predicate, lineage, later)

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return the runtime, lineage, test data and baseline."""
        workload, baseline = predicate["workload"], predicate["baseline"]
        digests = [baseline["file_digest"], baseline["content_digest"]]
        # The given file and its simplified form count as one baseline.
        digests += [] if baseline["simplified"] is None else [baseline["simplified"]["given_digest"]]
        return replace(
            super().facts(predicate),
            runtime=f"{workload['runtime']} {workload['runtime_version']}",
            test_data=predicate["data"]["test_digest"],
            baseline=tuple(digests),
        )

    def claims(self, predicate: Mapping[str, Any], digest: str) -> EfficiencyClaims:
        """Return what may be printed about an efficiency certificate."""
        return efficiency_claims(self, predicate, digest)


def scored_figures(
    predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None, later: Costs | None = None
) -> dict[str, Estimate]:
    """Return the figures of an efficiency certificate that a scorecard may read; see :meth:`Efficiency.figures`."""
    graded = Grade.from_json(predicate["grade"])
    found = dict(Profile.from_json(predicate["profile"]).estimates)
    yes = "1 for yes, as it was signed"
    found["graded"] = Estimate.exact(float(not graded.refused), "1", yes)
    found["lineage_signed"] = Estimate.exact(float(predicate["lineage"] is not None), "1", yes)
    if graded.score_db is not None:
        found["score_db"] = Estimate.exact(graded.score_db, "dB", "the signed score, of pessimistic ends")
    paid = None if lineage is None else payback(found, lineage, later=later).inferences
    if paid is not None and paid.low > 0:
        value, low, high = (math.log10(end) for end in (paid.value, paid.low, paid.high))
        method = f"decimal logarithm: {paid.method}"
        found["log10_payback_inferences"] = replace(paid, value=value, low=low, high=high, method=method)
    return found


def _simplified(found: Simplified | None) -> Mapping[str, Any] | None:
    """Return what was removed from the baseline or rewritten before measuring; None if nothing was."""
    if found is None or (found.removed is None and found.rewritten is None):
        return None
    return {
        "given_digest": found.given_digest,
        "removed": None if found.removed is None else [str(text) for text in found.removed],
        "rewritten": [str(text) for text in found.rewritten or ()],
        "work_share": found.removed_share,
        "bytes_share": found.removed_bytes_share,
    }
