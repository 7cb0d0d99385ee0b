"""The guards against a model that recognises the test, on made-up answers; real files are in test_recognition.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence

Values = dict[str, Any]
Change = Callable[[Values], Values]
TEXT = {"inputs": {"std": 0.9, "distinct": 64, "constant_share": 0.0, "repetition": 90.0}}


@pytest.fixture
def failed(evidence: Evidence, make_evidence: Callable[..., Evidence], edition: Edition) -> Callable[..., Any]:
    """Findings that do not pass, with the candidate's (or the baseline's) values of an observation changed."""

    def judge(name: str, change: Change, arm: str = "candidate", **more: Any) -> dict[str, str]:
        values = evidence.observation(name)
        assert values is not None
        told = {name: {**values, arm: change(dict(values[arm]))}, **more}
        changed = make_evidence(observations=told)
        found = {one.name: one.outcome for one in judge_guards(changed, edition) if one.outcome != "pass"}
        assert (grade(derive(changed, edition), edition).letter is None) == bool(found)
        return found

    return judge


def others(share: float) -> Change:
    """Another answer to the first share of the samples."""

    def change(values: Values) -> Values:
        count = round(share * len(values["top1"]))
        top1 = [(one + 5) % 10 if i < count else one for i, one in enumerate(values["top1"])]
        return {**values, "top1": top1}

    return change


def times(factor: float) -> Change:
    return lambda values: {**values, "changed_cpu_s": [factor * one for one in values["changed_cpu_s"]]}


@pytest.mark.parametrize(
    ("change", "trips"),
    [
        (others(0.01), False),
        (others(0.05), True),
        (lambda v: {**v, "margin": [0.96 * m for m in v["margin"]]}, False),
        (lambda v: {**v, "margin": [0.8 * m for m in v["margin"]]}, True),
        (lambda v: {**v, "samples": v["samples"][::-1]}, True),
        (lambda v: {name: values[:10] for name, values in v.items()}, True),
    ],
    ids=["1 % turned", "5 % turned", "4 % of the margin", "20 % of the margin", "another order", "too few"],
)
def test_answers_stable_fails_alone_when_repeated_answers_are(
    change: Change, trips: bool, failed: Callable[..., Any]
) -> None:
    assert failed("repeated_answers", change) == ({"answers_stable": "fail"} if trips else {})


def test_answers_stable_passes_when_only_near_ties_flip(
    make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    from dataclasses import replace

    honest = make_evidence()
    values: Mapping[str, Any] = honest.observation("repeated_answers") or {}
    tied = set(values["candidate"]["samples"][:20])
    predictions = tuple(
        replace(p, candidate_margin=0.2, candidate_top1=(p.label + 1) % 10) if i in tied else p
        for i, p in enumerate(honest.predictions)
    )
    second = {**values["candidate"], "margin": [0.1] * 20 + values["candidate"]["margin"][20:]}
    told = {"repeated_answers": {**values, "candidate": second}}
    found = judge_guards(replace(make_evidence(observations=told), predictions=predictions), edition)
    assert next(one.outcome for one in found if one.name == "answers_stable") == "pass"


@pytest.mark.parametrize(
    ("change", "arm", "trips"),
    [
        (others(0.03), "candidate", False),
        (others(0.2), "candidate", True),
        (others(0.5), "baseline", True),
        (lambda v: {**v, "samples": v["samples"][1:], "top1": v["top1"][1:]}, "candidate", True),
    ],
    ids=["3 % more lost", "20 % more lost", "a baseline that keeps half", "samples left out"],
)
def test_same_on_changed_fails_alone_when_answers_are(
    change: Change, arm: str, trips: bool, failed: Callable[..., Any]
) -> None:
    assert failed("changed_answers", change, arm) == ({"same_on_changed": "fail"} if trips else {})


@pytest.mark.parametrize(
    ("change", "arm", "trips"),
    [
        (times(1.15), "candidate", False),
        (times(1.4), "candidate", True),
        (times(0.7), "baseline", True),
        (lambda v: {name: values[:2] for name, values in v.items()}, "candidate", True),
    ],
    ids=["15 % slower", "40 % slower", "a baseline that is faster", "two windows"],
)
def test_same_cost_on_changed_fails_alone_when_times_are(
    change: Change, arm: str, trips: bool, failed: Callable[..., Any]
) -> None:
    assert failed("changed_cost", change, arm) == ({"same_cost_on_changed": "fail"} if trips else {})


@pytest.mark.parametrize(
    ("name", "finding"), [("changed_answers", "same_on_changed"), ("changed_cost", "same_cost_on_changed")]
)
def test_changed_samples_may_be_missing_for_text_only(
    name: str, finding: str, make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    for inputs, outcome in (({}, "fail"), (TEXT, "unknown")):
        evidence = make_evidence(observations={**inputs, name: None})
        found = {one.name: one.outcome for one in judge_guards(evidence, edition) if one.outcome != "pass"}
        assert found == {finding: outcome}
        assert (grade(derive(evidence, edition), edition).letter is None) == (outcome == "fail")


def test_answers_in_another_order_are_refused_when_the_salt_changes(
    make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    evidence = make_evidence(observations={"sample_order": {"salt": "mine"}})
    found = {one.name for one in judge_guards(evidence, edition) if one.outcome == "fail"}
    assert found == {"answers_stable", "same_on_changed"}


def test_guards_refuse_answers_that_are_not_numbers(
    failed: Callable[..., Any], evidence: Evidence, make_evidence: Callable[..., Evidence]
) -> None:
    with pytest.raises(CertificateError, match="finite numbers"):
        failed("repeated_answers", lambda values: {**values, "top1": ["a"] * len(values["top1"])})


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        (None, "unknown"),
        ({"both": 930, "only_baseline": 36}, "pass"),
        ({"both": 230, "only_baseline": 736}, "fail"),
        ({"shared": 3}, "fail"),
        ({"samples": 100, "both": 97, "only_baseline": 1, "only_candidate": 1}, "fail"),
    ],
    ids=["none", "3 % lost", "most lost", "test samples among them", "too few"],
)
def test_holds_on_fresh_alone_judges_data_that_the_maker_has_not_seen(
    values: Values | None, outcome: str, evidence: Evidence, make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    honest = evidence.observation("fresh_data") or {}
    changed = make_evidence(observations={"fresh_data": None if values is None else {**honest, **values}})
    found = {one.name: one.outcome for one in judge_guards(changed, edition) if one.outcome != "pass"}
    assert found == ({} if outcome == "pass" else {"holds_on_fresh": outcome})
    graded = grade(derive(changed, edition), edition)
    assert (graded.letter is None) == (outcome == "fail")
    assert any("unseen by the maker" in note for note in graded.notes) == (values is None)


@pytest.mark.parametrize(("stated", "scored"), [("no", True), ("imagefolder:new", False)])
def test_holds_on_fresh_fails_when_the_certificate_states_data_that_were_not_scored(
    stated: str, scored: bool, evidence: Evidence, make_evidence: Callable[..., Evidence], edition: Edition
) -> None:
    observed = {} if scored else {"fresh_data": None}
    data = {**evidence.header.data, "fresh": stated}
    changed = make_evidence(header={"data": data}, observations=observed)
    found = {one.name: one.sentence for one in judge_guards(changed, edition) if one.outcome != "pass"}
    assert list(found) == ["holds_on_fresh"] and repr(stated) in found["holds_on_fresh"]
