"""What no finding can see in the evidence of one pair and one test set, as SECURITY.md states: each earns a letter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from forgeries import each_window, is_main

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence

Maker = Callable[..., Evidence]


def graded(evidence: Evidence, edition: Edition) -> bool:
    failed = [one.name for one in judge_guards(evidence, edition) if one.outcome != "pass"]
    return not failed and grade(derive(evidence, edition), edition).letter is not None


def faster(evidence: Evidence) -> Evidence:
    """A candidate that ran ten times as many inferences in each window, and each of them in a tenth of the time."""
    windows = each_window(lambda _, w: {"inferences": 10 * w.inferences} if is_main(w) else {})(evidence)
    latencies = tuple(
        replace(one, seconds=tuple(s / 10 for s in one.seconds)) if one.arm == "candidate" else one
        for one in evidence.latencies
    )
    return replace(windows, latencies=latencies)


def right_answers(evidence: Evidence) -> Evidence:
    """A candidate that gets every sample right, though it was never asked."""
    answers = tuple(replace(one, candidate_top1=one.label) for one in evidence.predictions)
    return replace(evidence, predictions=answers)


def other_device(evidence: Evidence) -> Evidence:
    device = {**evidence.header.device, "processor": "AMD EPYC 9654", "model_name": "AMD EPYC 9654"}
    return replace(evidence, header=replace(evidence.header, device=device))


def no_neighbours(evidence: Evidence) -> Evidence:
    return each_window(lambda _, w: {"host": {**w.host, "foreign_cpu_share": 0.0, "steal_share": 0.0}})(evidence)


def best_blocks(evidence: Evidence) -> Evidence:
    """Every second block of the main run is left out, and the others are numbered as if there had been no more."""
    kept = [w for w in evidence.windows if w.run != "main" or w.block % 2 == 0]
    renumbered = [replace(w, block=w.block // 2) if w.run == "main" else w for w in kept]
    return replace(evidence, windows=tuple(renumbered))


LIMITS: dict[str, tuple[Callable[[Evidence], Evidence], dict[str, Any]]] = {
    "windows and latencies that were shortened together": (faster, {}),
    "invented predictions": (right_answers, {}),
    "neighbours": (no_neighbours, {"host": {"foreign_cpu_share": 0.2}}),
    "devices": (other_device, {}),
    "omitted blocks if the rest were renumbered": (best_blocks, {"blocks": 20}),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_known_limit_evidence_is_believed_when_it_has(
    limit: str, make_evidence: Maker, edition: Edition, stated: Callable[[str], None]
) -> None:
    stated("No finding detects windows and latencies that were shortened together, invented predictions, neighbours "
           "or devices, or omitted blocks if the rest were renumbered.")  # fmt: skip
    forge, knobs = LIMITS[limit]
    honest = make_evidence(**knobs)
    forged = forge(honest)
    assert forged != honest and graded(forged, edition)


@pytest.mark.parametrize(("gain", "passes"), [(0.05, True), (0.07, False)])
def test_known_limit_recognition_is_not_found_below_six_points(
    gain: float, passes: bool, make_evidence: Maker, edition: Edition, with_predictions: Callable[..., Evidence],
    stated: Callable[[str], None],
) -> None:  # fmt: skip
    """Samples that the candidate knows: right as they are, wrong when they are changed."""
    stated("recognising samples for a gain below 6 points of accuracy or below 30 % of the time")
    evidence = make_evidence()
    changed = evidence.observation("changed_answers")
    assert changed is not None
    answers = dict(changed["candidate"])
    top1 = list(answers["top1"])
    for i in range(round(gain * len(top1))):
        top1[i] = (top1[i] + 1) % 10
    told = make_evidence(observations={"changed_answers": {**changed, "candidate": {**answers, "top1": top1}}})
    assert graded(told, edition) is passes


@pytest.mark.parametrize(("slower", "passes"), [(1.29, True), (1.31, False)])
def test_known_limit_recognition_is_not_found_below_thirty_percent_of_the_time(
    slower: float, passes: bool, make_evidence: Maker, edition: Edition
) -> None:
    changed = make_evidence().observation("changed_cost")
    assert changed is not None
    costs = dict(changed["candidate"])
    for clock in ("cpu_s", "s"):
        costs[f"changed_{clock}"] = [slower * value for value in costs[f"unchanged_{clock}"]]
    told = make_evidence(observations={"changed_cost": {**changed, "candidate": costs}})
    assert graded(told, edition) is passes


def test_known_limit_library_is_not_found_when_it_slows_both_models(
    make_evidence: Maker, edition: Edition, stated: Callable[[str], None]
) -> None:
    stated("one slow library for both models")
    honest = make_evidence()
    known = honest.observation("surroundings")
    assert known is not None
    slow = {"onnxruntime/capi/onnxruntime_pybind11_state.so": "ee" * 32}
    both = {arm: {**one, "libraries": {**one["libraries"], **slow}} for arm, one in known.items()}
    libraries = {**honest.header.libraries, **slow}
    assert graded(make_evidence(observations={"surroundings": both}, header={"libraries": libraries}), edition)


def test_known_limit_contract_is_not_found_when_it_is_wrong_for_both_models(
    make_evidence: Maker, edition: Edition, stated: Callable[[str], None]
) -> None:
    stated("a contract that is wrong for both models alike")
    known = make_evidence().observation("contracts")
    assert known is not None
    wrong = {arm: {**known[arm], "colour": "BGR", "mean": [0.0] * 3} for arm in ("baseline", "candidate")}
    assert graded(make_evidence(observations={"contracts": {**known, **wrong}}), edition)
