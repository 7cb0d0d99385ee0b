"""A central run beside a federated one: derived from two jobs, and refused when they differ in anything else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from certify.assessments.federation.assessment import Federation
from certify.assessments.federation.central import MeasuredJob, central_run
from certify.assessments.federation.recording import record
from certify.assessments.federation.records import Central, Records
from certify.core.errors import UsageError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import Evidence, Header, ModelFacts, Observation, Prediction, Workload
from certify.core.observations import TargetValues
from tests.certify.core.federation.honest_run import build, opening

RUN = build(opening(transport="memory"))
START = RUN.opening.message.model
END = "" if RUN.end is None else RUN.end.message.model
JOULES = Estimate(30.0, 20.0, 40.0, "J", 1, "vcpu: modelled", EvidenceLevel.MODELLED).to_json()
NOTHING = MappingProxyType({})


def row(name: str, before: str, after: str, stage: str = "torch", **more: Any) -> dict[str, Any]:
    return {
        "pass": name, "version": 1, "stage": stage, "config": {}, "model_digest_in": before, "model_digest_out": after,
        "cpu_s": 4.0, "energy_j": JOULES, "touched": {"train": ["raw"]}, **more,
    }  # fmt: skip


def job(name: str, trained: list[dict[str, Any]], right: set[int]) -> MeasuredJob:
    """A job of pruning, training and quantization, whose model gets the given ones of four samples right."""
    rows = [row("structured_prune", "00" * 32, START), *trained]
    rows += [row("quantize_static", "77" * 32, "88" * 32, "onnx", config={"samples": 16})]
    file = name[0] * 64
    lineage = {
        "rows": rows, "artifacts": {"model.onnx": file},
        "data": {"digests": {part: part[0] * 64 for part in ("train", "calibration", "validation", "test")}},
    }  # fmt: skip
    header = Header(
        "2026-11-26T09:00:00Z", "0.1.0", "2026", 0, 1, "made here", {}, {}, Workload("r", "1", "cpu", 1, 1, 1), None,
        {"candidate": ModelFacts(file, file, 1, 1, 1, 1.0)}, 1.0, 0.05, {},
    )  # fmt: skip
    rated = tuple(Prediction(f"{n}" * 64, 1, 1, 0.5, int(n in right), 0.5) for n in range(4))
    return MeasuredJob(name, lineage, "ef" * 32, Evidence(header, (), (), rated, ()))


FEDERATED = job("federated", [row("federated_finetune", START, END)], {0, 1})
CENTRAL = job("central", [row("finetune", START, "11" * 32), row("distill", "11" * 32, "22" * 32)], {0, 2, 3})


def records(**changes: Any) -> Records:
    lineage = copy.deepcopy(FEDERATED.lineage)
    return record([RUN], {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}, lineage, "ef" * 32, "0.1.0", **changes)


def test_every_field_is_derived_from_the_files_of_both_jobs() -> None:
    found = central_run(records(), FEDERATED, CENTRAL)
    assert found == Central(1, 1, 2, 0, "c" * 64, "t" * 64, 8.0, 60.0, "modelled")
    evidence = records(central=found)
    assert Federation().parse(Federation().dump(evidence), "records") == evidence


def test_joules_are_absent_when_one_pass_has_none() -> None:
    other = changed(lambda rows: rows[1].update(energy_j=None))
    assert central_run(records(), FEDERATED, other).energy_j is None


def changed(edit: Callable[[list[dict[str, Any]]], object], of: MeasuredJob = CENTRAL) -> MeasuredJob:
    lineage = copy.deepcopy(dict(of.lineage))
    edit(lineage["rows"])
    return replace(of, lineage=lineage)


def with_data(digest: str | None, part: str = "train", of: MeasuredJob = CENTRAL) -> MeasuredJob:
    return replace(of, lineage={**of.lineage, "data": {"digests": {**of.lineage["data"]["digests"], part: digest}}})


def with_evidence(**changes: Any) -> MeasuredJob:
    return replace(CENTRAL, evidence=replace(CENTRAL.evidence, **changes))


RATED = CENTRAL.evidence.predictions
REFUSED: dict[str, tuple[MeasuredJob, str]] = {
    "train part": (with_data("9" * 64), "has a different train part"),
    "validation part": (with_data("9" * 64, "validation"), "has a different validation part"),
    "part that only one has": (with_data("9" * 64, "more"), "has a different more part"),
    "start": (changed(lambda rows: rows[1].update(model_digest_in="99" * 32)), "began with a different model"),
    "settings before": (changed(lambda rows: rows[0].update(config={"macs": 0.5})), "more than where they trained"),
    "settings after": (changed(lambda rows: rows[-1]["config"].update(samples=8)), "more than where they trained"),
    "passes after": (changed(lambda rows: rows.pop()), "more than where they trained"),
    "no training": (changed(lambda rows: rows.__delitem__(slice(1, 3))), "began with a different model"),
    "training on clients": (changed(lambda rows: rows[1].update({"pass": "federated_distill"})), "not training in one"),
    "train part unread": (changed(lambda rows: rows[1].update(touched=None)), "not training in one place"),
    "no CPU-seconds": (changed(lambda rows: rows[2].pop("cpu_s")), "does not state the CPU-seconds"),
    "other samples": (with_evidence(predictions=RATED[:3]), "different test samples"),
    "other labels": (with_evidence(predictions=(*RATED[:3], replace(RATED[3], label=0))), "different test samples"),
    "nothing scored": (with_evidence(predictions=()), "no class per test sample"),
    "numbers": (with_evidence(observations=(Observation.of(TargetValues([1.0])),)), "no class per test sample"),
    "other model": (replace(CENTRAL, lineage={**CENTRAL.lineage, "artifacts": NOTHING}), "not of its lineage's model"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_central_run_is_refused_when_the_jobs_differ_in_anything_else(what: str) -> None:
    other, sentence = REFUSED[what]
    with pytest.raises(UsageError, match=sentence):
        central_run(records(), FEDERATED, other)


def test_central_run_is_refused_when_the_federated_job_is_unknown_or_a_fleet() -> None:
    with pytest.raises(UsageError, match="no digest of the train part"):
        central_run(records(), with_data(None, of=FEDERATED), with_data(None))
    with pytest.raises(UsageError, match="is not the one in its records"):
        central_run(records(), replace(FEDERATED, lineage_digest="00" * 32), CENTRAL)
    with pytest.raises(UsageError, match="do not follow one another"):
        central_run(records(), changed(lambda rows: rows[1].update(model_digest_out="0"), FEDERATED), CENTRAL)
    fleet = replace(records(), runs=(build(opening(transport="flower")),))
    with pytest.raises(UsageError, match="clients of a fleet keep their samples"):
        central_run(fleet, FEDERATED, CENTRAL)
