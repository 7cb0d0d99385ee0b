"""Federation records of an honest run, with a knob for each change, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from certify.assessment.assessment import profile_of
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.federation.assessment import Federation
from certify.assessments.federation.edition import load_edition
from certify.assessments.federation.recording import record
from certify.assessments.federation.records import Central, Records
from certify.core.data_use.policy import BoundData, Rule, UsePolicy
from certify.core.federation import Enrolment, Entry, FederatedRun
from tests.certify.core.federation.honest_run import build

EDITION, ROOM = load_edition(), Federation()
DIGESTS = {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}
RESEARCH = "dpv:AcademicResearch"


def policy(*actions: Any) -> UsePolicy:
    data = BoundData("digits", "00" * 32, "11" * 32)
    return UsePolicy("p", "2026-01-01T00:00:00Z", "Clinic", "a@example.org", data, (),
                     (Rule(actions or ("finetune",), (RESEARCH,)),), (), "dpv:Consent", "required", "by letter", None,
                     True)  # fmt: skip


def governed(by: UsePolicy) -> Callable[[Any], Any]:
    def edit(message: Any) -> Any:
        return replace(message, policy=by.digest) if isinstance(message, Enrolment | Entry) else message

    return edit


def lineage(run: FederatedRun, **changes: Any) -> dict[str, Any]:
    end = None if run.end is None else run.end.message.model
    row = {
        "pass": "federated_finetune", "version": 1, "stage": "torch", "config": {},
        "model_digest_in": run.opening.message.model, "model_digest_out": end or "00" * 32, "parameters": 1, "macs": 1,
        "bytes": 1, "validation_accuracy": None, "seconds": 0, "energy_j": None, "done": {}, "declined": [],
    }  # fmt: skip
    before = {
        **row,
        "pass": "structured_prune",
        "model_digest_in": "00" * 32,
        "model_digest_out": row["model_digest_in"],
    }
    return {
        "version": 1, "leanmark": "0.1.0", "model": {"spec": "tiny", "origin": "made here", "weights": None},
        "data": {"name": "d", "spec": "d", "digests": {}, "counts": {}},
        "recipe": {"name": "r", "digest": "00" * 32, "passes": ["federated_finetune"]}, "seed": 0,
        "baseline": {"model_digest": "00" * 32, "parameters": 1, "macs": 1, "bytes": 1, "validation_accuracy": None,
                     "trained_here": False, "seconds": 0, "energy_j": None},
        "rows": [before, {**row, **changes}], "export": None, "artifacts": {},
    }  # fmt: skip


CENTRAL = Central(700, 60, 90, 150, model="11" * 32, test_digest="22" * 32, cpu_s=10.0, energy_j=80.0, level="modelled")


def records(run: FederatedRun | None = None, central: Central | None = None, **kept: Any) -> Records:
    by = kept.pop("by", policy())
    made = build(edit=governed(by)) if run is None else run
    return record([made], DIGESTS, lineage(made, **kept), "ef" * 32, "0.1.0", [by], central)


def judged(made: Records) -> tuple[Profile, ClaimOutcome]:
    profile = profile_of(ROOM, made, EDITION)
    return profile, ROOM.outcome(profile, EDITION)


def outcomes(made: Records) -> dict[str, str]:
    return {one.name: one.outcome for one in judged(made)[0].guards}


def run_with(edit: Any = lambda message: message, **options: Any) -> FederatedRun:
    return build(edit=lambda message: edit(governed(policy())(message)), **options)
