"""The robustness assessment: effect of compression under corruptions and attacks, derived from tables of counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from certify.assessment.assessment import Assessment, Facts, Surroundings, Version
from certify.assessment.claims import Claims, Costs, common_claims
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.robustness import edition as editions
from certify.assessments.robustness import records as record_files
from certify.assessments.robustness.edition import RobustnessEdition
from certify.assessments.robustness.figures import figures
from certify.assessments.robustness.findings import judge_findings
from certify.assessments.robustness.records import Records, WitnessSet
from certify.assessments.robustness.wording import words
from certify.core.estimate import Estimate
from certify.core.finding import Finding

PREDICATE_TYPE = "https://leanmark.org/secure/robustness/v1"
WITNESS_FOLDER = "witnesses"
"""Folder of witness files next to a model, including those by third parties."""
LIMITS = (
    "Robust accuracy is an upper bound: a witness proves that a sample can be fooled; nothing proves that it cannot.",
    "Random or input-dependent defences only hide gradients, and earn nothing here.",
    "Unknown triggers are not searched for: backdoors survive compression and cannot be ruled out.",
    "Corruptions are this edition's own set; the figures are not mCE.",
)


class Robustness(Assessment):
    """Correct answers before and after, under corruptions and under witnesses that anybody can check.

    Example:
        >>> Robustness().load_edition("2026").broken_eps
        8
    """

    name = "robustness"
    title = "Under stress"
    predicate_type = PREDICATE_TYPE
    versions = {PREDICATE_TYPE: Version("robustness-1", "certify.assessments.robustness")}
    parse = staticmethod(record_files.parse)
    dump = staticmethod(record_files.dump)
    load_edition = staticmethod(editions.load_edition)

    def repeated(self, records: Records) -> Mapping[str, Any]:
        """Return the fields of the header that the statement repeats, and the witness files."""
        header = records.header
        data = {"name": header.data.name, "samples": header.data.samples, "test_digest": header.data.test_digest}
        sets = [{"file": witness_set.file, "sha256": witness_set.sha256} for witness_set in records.of(WitnessSet)]
        return {
            "leanmark": header.leanmark,
            "created": header.created,
            "baseline": asdict(header.baseline),
            "float_parent": None if header.float_parent is None else asdict(header.float_parent),
            "data": data,
            "witnesses": sets,
        }

    def derive(self, records: Records, edition: RobustnessEdition) -> Mapping[str, Estimate]:
        """Derive every figure."""
        return figures(records, edition)

    def findings(self, records: Records, edition: RobustnessEdition) -> tuple[Finding, ...]:
        """Run every check that applies to the records."""
        return judge_findings(records, edition)

    def outcome(self, profile: Profile, edition: RobustnessEdition) -> ClaimOutcome:
        """Return a claim with the results; a refusal if the records fail a check.

        A corruption that costs more accuracy is a finding about the model, not a refusal: a gate decides what passes
        (``--require 'robustness.worst_corruption_loss_points<=5'``).
        """
        failed = [f"{guard.name}: {guard.sentence}" for guard in profile.guards if guard.outcome != "pass"]
        if failed:
            return ClaimOutcome("refused", tuple(failed), ())
        # Always shown with the outcome, because transferred witnesses alone would be misleading.
        message = tuple(guard.sentence for guard in profile.guards if guard.name == "own_gradients")
        return ClaimOutcome("; ".join(_parts(profile)) or "described", (), message)

    def checks(self, around: Surroundings) -> Iterable[Finding]:
        """Check that witness files next to the model are the stated ones."""
        yield from _files_follow(around)

    def texts(self, predicate: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the names of model and data."""
        return {**super().texts(predicate), "data's name": predicate["data"]["name"]}

    def figures(
        self, predicate: Mapping[str, Any], lineage: Mapping[str, Any] | None = None, later: Costs | None = None
    ) -> Mapping[str, Estimate]:
        """Return the figures of the profile, and the largest loss of robust accuracy over all sizes of change."""
        found = Profile.from_json(predicate["profile"]).estimates
        changes = [found[f"standing_{eps}_change_points"] for eps in _sizes(found)]
        if not changes:
            return found
        method = (
            f"largest loss of robust accuracy over {len(changes)} sizes of change; upper end over all of them at once"
        )
        # The sign changes and the ends swap, because a loss is the negative of a change.
        value, low, high = (max(-getattr(estimate, end) for estimate in changes) for end in ("value", "high", "low"))
        return {**found, "witnessed_loss_points": Estimate(value, low, high, "points", changes[0].n, method)}

    def facts(self, predicate: Mapping[str, Any]) -> Facts:
        """Return the test data and the baseline."""
        digests = predicate["baseline"]
        return Facts(test_data=predicate["data"]["test_digest"], baseline=tuple(digests.values()))

    def claims(self, predicate: Mapping[str, Any], digest: str) -> Claims:
        """Return what may be printed."""
        names = predicate["profile"]["estimates"]
        common = common_claims(self, predicate, digest, headlines=_headlines(names), limits=LIMITS)
        return Claims(**common, words=words(names))


def _parts(profile: Profile) -> Iterator[str]:
    found = profile.estimates
    if "worst_corruption_loss_points" in found:
        worse, count = (round(float(found[name])) for name in ("corruptions_worse", "corruptions"))
        loss = found["worst_corruption_loss_points"]
        yield f"{worse} of {count} corruptions worse, {loss.value:.1f} points at worst (up to {loss.high:.1f})"
    if sizes := _sizes(found):
        # The smallest change is the hardest to fool a model with.
        eps = sizes[0]
        before, after = (100 * float(found[f"standing_{eps}_{arm}"]) for arm in ("baseline", "candidate"))
        yield f"robust accuracy at {eps}/255 at most {after:.1f} %, {before:.1f} % before"
    triggered = [name for name in found if name.startswith("trigger_") and name.endswith("_success_candidate")]
    if triggered:
        yield f"a given trigger works on {100 * float(found[triggered[0]]):.1f} %"


def _sizes(estimates: Mapping[str, Any]) -> list[int]:
    """Return the sizes of change, ascending, for which the profile has a robust accuracy."""
    names = [name for name in estimates if name.startswith("standing_") and name.endswith("_candidate")]
    return sorted(int(name.split("_")[1]) for name in names if "_by_" not in name)


def _headlines(estimates: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if "worst_corruption_loss_points" in estimates:
        found["worst_corruption_loss_points"] = "largest loss under a corruption"
    for eps in _sizes(estimates)[:2]:
        found[f"standing_{eps}_candidate"] = f"robust accuracy at {eps}/255, at most"
    for name in estimates:
        if name.startswith("trigger_") and name.endswith("_success_candidate"):
            found[name] = "success rate of a given trigger"
    return found or {name: name.replace("_", " ") for name in list(estimates)[:1]}


def _files_follow(around: Surroundings) -> Iterator[Finding]:
    stated = {file["file"]: file["sha256"] for file in around.predicate["witnesses"]}
    if not stated:
        return
    places = {name: folder / WITNESS_FOLDER / name for folder in around.folders for name in stated}
    here = {name: path for name, path in places.items() if path.is_file()}
    wrong = [name for name, path in here.items() if hashlib.sha256(path.read_bytes()).hexdigest() != stated[name]]
    if wrong:
        yield Finding("witness_files", "fail", f"Different from the stated witnesses: {', '.join(sorted(wrong))}.")
    elif len(here) < len(stated):
        missing = ", ".join(sorted(set(stated) - set(here)))
        yield Finding("witness_files", "skipped", f"Witness files are missing: {missing}.")
    else:
        yield Finding("witness_files", "pass", "The witness files are the stated ones.")
