"""The robustness assessment over records alone: figures, findings, and what each refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from certify.assessment.assessment import profile_of
from certify.assessments.robustness.assessment import Robustness
from certify.assessments.robustness.edition import load_edition
from certify.assessments.robustness.findings import NAMES, OTHER_SETTINGS
from certify.assessments.robustness.records import (
    ArmName,
    Clean,
    Corrupted,
    DataFacts,
    Detection,
    Header,
    Held,
    ModelDigests,
    Record,
    Records,
    Standing,
    Triggered,
    WitnessSet,
)
from certify.assessments.robustness.wording import words
from certify.core.errors import CertificateError, UsageError
from certify.core.statistics.proportions import PairedTable, difference_interval
from certify.testing import check_assessment
from certify.workflows.robustness_records import detection

EDITION = load_edition()
N = 200
D = "d" * 64


def header(**other: object) -> Header:
    digests = ModelDigests("a" * 64, "b" * 64)
    made = Header(
        "2026-01-02T03:04:05Z", "0.1.0", digests, ModelDigests("c" * 64, "e" * 64), DataFacts("x", "npz:x", 500, D),
        "onnxruntime-cpu", False,
    )  # fmt: skip
    return replace(made, **other)  # type: ignore[arg-type]


def corruptions(lost: int = 10) -> list[Record]:
    rows: list[Record] = [Clean(180, 2, 4, 14, of="corruptions")]
    rows += [Corrupted(120, 2, lost, N - 122 - lost, name=name, severity=3, samples=D) for name in EDITION.corruptions]
    return rows


def stands(both: int, only_candidate: int, only_baseline: int, eps: int, source: str = "union") -> Standing:
    rest = N - both - only_candidate - only_baseline
    return Standing(both, only_candidate, only_baseline, rest, eps=eps, source=source)  # type: ignore[arg-type]


def witness_set(arm: str, **other: object) -> WitnessSet:
    made = WitnessSet(f"{arm}.npz", D, arm, "pgd", D, False, N, 150, 150, 0)  # type: ignore[arg-type]
    return replace(made, **other)  # type: ignore[arg-type]


def held(wrong: int = 0) -> list[Record]:
    arms: tuple[ArmName, ...] = ("baseline", "candidate")
    return [Held(arm, level, threads, 150, 150 - wrong) for level, threads in OTHER_SETTINGS for arm in arms]


def attacked() -> list[Record]:
    """Own witnesses for both; the baseline's, carried over, would show a gain of 40 points."""
    return [
        Clean(170, 2, 8, 20, of="witnesses"),
        witness_set("baseline"),
        witness_set("candidate"),
        stands(20, 5, 8, 2),
        stands(0, 0, 0, 8),
        stands(25, 85, 5, 2, "baseline"),
        stands(5, 60, 0, 8, "baseline"),
        stands(25, 5, 90, 2, "candidate"),
        stands(0, 0, 70, 8, "candidate"),
        *held(),
    ]


def records(rows: list[Record], **other: object) -> Records:
    kinds = (Clean, Corrupted, WitnessSet, Standing, Held, Detection, Triggered)
    return Records(header(**other), tuple(sorted(rows, key=lambda row: kinds.index(type(row)))))


def judged(made: Records) -> dict[str, tuple[str, str]]:
    return {one.name: (one.outcome, one.sentence) for one in profile_of(Robustness(), made, EDITION).guards}


def everything() -> Records:
    trigger = Triggered(20, 50, 10, 100, name="t.png", sha256=D, target=1, untriggered_baseline=3,
                        untriggered_candidate=4)  # fmt: skip
    rng = np.random.default_rng(0)
    found = detection("candidate", rng.normal(3, 1, 40), rng.normal(1, 1, 30))
    return records([*corruptions(), *attacked(), found, trigger])


def test_assessment_passes_the_battery() -> None:
    content = Robustness().dump(everything())
    check_assessment(Robustness(), content, "2026")


def test_figures_match_the_tables() -> None:
    figures = profile_of(Robustness(), everything(), EDITION).estimates
    change, ends = figures["jpeg_3_change_points"], difference_interval(PairedTable(120, 2, 10, 68), 1 - 0.05 / 7)
    assert change.value == pytest.approx(100 * (2 - 10) / N)
    assert (change.low, change.high) == pytest.approx((100 * ends.low, 100 * ends.high))
    assert figures["worst_corruption_loss_points"].high == pytest.approx(-100 * ends.low)
    stated = figures["standing_2_candidate"]
    assert stated.value == 25 / N and stated.low == 0.0 < stated.high
    assert figures["standing_2_change_points"].value == pytest.approx(-1.5)
    assert figures["standing_2_by_baseline_change_points"].value == pytest.approx(40.0)
    assert figures["trigger_1_success_baseline"].value == 150 / 180
    assert figures["trigger_1_success_candidate"].value == 110 / 180
    assert figures["trigger_1_change_points"].value == pytest.approx(100 * (110 - 150) / 180)


def with_parent(**changed: Any) -> Records:
    """Records of a trigger that works on 40 of 180 samples of the float parent."""
    all_records = everything()
    counts = {"both": 65, "only_candidate": 5, "only_baseline": 75, "neither": 35}
    parent = replace(all_records.of(Triggered)[0], **{**counts, "before": "float_parent", **changed})
    return replace(
        all_records,
        header=replace(all_records.header, float_parent=all_records.header.model),
        rows=(*all_records.rows, parent),
    )


def test_trigger_is_compared_with_the_float_parent_too() -> None:
    figures = profile_of(Robustness(), with_parent(), EDITION).estimates
    assert figures["trigger_1_success_float_parent"].value == 40 / 180
    assert figures["trigger_1_success_baseline"].value == 150 / 180
    assert figures["trigger_1_change_since_float_parent_points"].value == pytest.approx(100 * (110 - 40) / 180)
    assert judged(with_parent())["tables_complete"][0] == "pass"
    assert Robustness().parse(Robustness().dump(with_parent()), "records") == with_parent()
    for wrong in (
        with_parent(untriggered_candidate=5),
        with_parent(before="baseline"),
        replace(with_parent(), rows=everything().rows),
        replace(with_parent(), header=everything().header),
    ):
        assert judged(wrong)["tables_complete"][0] == "fail"


def test_own_gradients_exposes_a_false_gain_when_witnesses_were_carried_over() -> None:
    rows = [row for row in attacked() if getattr(row, "source", "") != "candidate"]
    rows = [row for row in rows if not (isinstance(row, WitnessSet) and row.arm == "candidate")]
    rows = [row for row in rows if not (isinstance(row, Standing) and row.source == "union")]
    rows += [stands(25, 85, 5, 2), stands(5, 60, 0, 8)]
    outcome, sentence = judged(records(rows))["own_gradients"]
    assert outcome == "fail" and "55.0 % against 15.0 % apparent robust accuracy at 2/255" in sentence
    profile = profile_of(Robustness(), records(rows), EDITION)
    assert Robustness().outcome(profile, EDITION).refused


def test_own_gradients_reports_what_transfer_would_have_shown_when_both_are_there() -> None:
    outcome, sentence = judged(records(attacked()))["own_gradients"]
    assert outcome == "pass"
    assert sentence.endswith("At 2/255 the baseline's witnesses alone show +40.0 points and all of them -1.5.")


def without(rows: list[Record], *wrong: type) -> list[Record]:
    return [row for row in rows if not isinstance(row, wrong)]


BROKEN = {
    "tables_complete": corruptions()[:-1],
    "standing_falls": [*without(attacked(), Standing), stands(0, 0, 0, 2), stands(20, 5, 8, 8)],
    "attack_strong_enough": [
        *without(attacked(), Standing), stands(60, 0, 20, 8), stands(60, 0, 20, 8, "baseline"),
        stands(70, 0, 50, 8, "candidate"),
    ],
    "own_gradients": [*without(attacked(), WitnessSet), witness_set("baseline"), witness_set("candidate", copied=140)],
    "witnesses_valid": [*without(attacked(), Held), *held(wrong=1)],
}  # fmt: skip


def test_every_check_has_records_that_break_it() -> None:
    assert set(BROKEN) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check_fails_when_its_records_are_broken(name: str) -> None:
    good = judged(records([*corruptions(), *attacked()]))
    assert {outcome for outcome, _ in good.values()} == {"pass"}
    failed = {one for one, (outcome, _) in judged(records(BROKEN[name])).items() if outcome == "fail"}
    assert failed == {name}


def test_weak_attack_passes_when_the_baseline_is_declared_hardened() -> None:
    evidence = records(BROKEN["attack_strong_enough"], adversarially_trained=True)
    assert judged(evidence)["attack_strong_enough"][0] == "pass"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [*corruptions(), Clean(180, 2, 4, 14, of="corruptions")],
        [*corruptions(), Corrupted(100, 0, 0, 100, name="fog", severity=3, samples=D)],
        [Clean(180, 2, 4, 13, of="corruptions"), *corruptions()[1:]],
        [Clean(1800, 2, 4, 14, of="corruptions"), *corruptions()[1:]],
    ],
)
def test_tables_fail_when_something_is_missing_duplicated_or_extra(rows: list[Record]) -> None:
    assert judged(records(rows))["tables_complete"][0] == "fail"


@pytest.mark.parametrize("missing", OTHER_SETTINGS)
def test_validity_fails_when_a_setting_was_left_out(missing: tuple[str, int]) -> None:
    rows = [row for row in attacked() if not isinstance(row, Held) or (row.graph_optimization, row.threads) != missing]
    assert judged(records(rows))["witnesses_valid"][0] == "fail"


def test_own_gradients_fails_when_they_flip_fewer_than_those_carried_over() -> None:
    rows = [
        *without(attacked(), Standing), stands(5, 5, 3, 2), stands(0, 0, 0, 8),
        stands(5, 5, 3, 2, "baseline"), stands(0, 0, 0, 8, "baseline"),
        stands(5, 100, 3, 2, "candidate"), stands(0, 0, 0, 8, "candidate"),
    ]  # fmt: skip
    outcome, sentence = judged(records(rows))["own_gradients"]
    assert outcome == "fail" and "did not follow the candidate's own gradients" in sentence


def test_detection_counts_every_pair_when_margins_are_compared() -> None:
    clean, attacked_ones = np.array([3.0, 2.0, 1.0]), np.array([0.5, 2.0])
    found = detection("baseline", clean, attacked_ones)
    assert found.wins / (2 * 6) == pytest.approx((3 + 1 + 0.5) / 6)
    rows = records([*corruptions(), found])
    area = profile_of(Robustness(), rows, EDITION).estimates["detection_auroc_baseline"]
    assert area.value == pytest.approx(0.75) and 0 <= area.low < area.value < area.high <= 1


def test_records_are_refused_when_reordered() -> None:
    lines = Robustness().dump(everything()).splitlines(keepends=True)
    with pytest.raises(CertificateError, match="must not follow a .* the order is header"):
        Robustness().parse(b"".join([lines[0], *lines[:0:-1]]), "r")


def test_edition_is_refused_when_unknown() -> None:
    with pytest.raises(UsageError, match="2026"):
        load_edition("2027")


def test_every_figure_of_a_condition_has_a_display_name() -> None:
    estimates = profile_of(Robustness(), everything(), load_edition("2026")).estimates
    named = words(estimates)
    assert set(estimates) - set(named) <= {"corruptions"} | {name for name in estimates if name.startswith("trigger_")}
    assert len(set(named.values())) == len(named)
    assert words(["standing_4_by_baseline_change_points", "shot_3_change_points", "other"]) == {
        "standing_4_by_baseline_change_points": "change of robust accuracy at 4/255, only the baseline's witnesses",
        "shot_3_change_points": "change of accuracy under shot, severity 3",
    }
