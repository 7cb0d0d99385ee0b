"""Points: the worked examples of the design, each rule, and what no figure may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import CertificateError, UsageError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.schema import validate
from certify.scorecard.edition import check_edition, edition_names, load_edition
from certify.scorecard.levels import enough_for, format_points, lacking, next_level, score, steps
from certify.scorecard.records import Records
from certify.scorecard.rules import parse_rule

EDITION = load_edition("secure-2026")
Build = Callable[..., Records]
MODELLED = Estimate(0.4, 0.3, 0.5, "1", 40, "test", EvidenceLevel.MODELLED)
GRADED = {"graded": 1, "lineage_signed": 1}


def total(records: Records) -> float:
    return score(records, EDITION).points


# Worked examples. The notes give points, pillars and assessed points; figures that they do not give are those that
# reproduce these (the share of S1 in the first, the witnessed loss in the second).


def test_resnet50_of_the_main_job_has_20_7_points_and_no_level(build: Build) -> None:
    figures = {"efficiency": {"score_db": 4.94, "energy_ratio": MODELLED, **GRADED},
               "social": {"cells": 6, "cells_within_margin_share": 1 / 6}}  # fmt: skip
    found = score(build(figures), EDITION)
    assert found.points == pytest.approx(20.7, abs=0.1)
    assert found.pillars == pytest.approx({"compute": 19.7, "federated": 0, "sovereignty": 0, "social": 1}, abs=0.1)
    assert found.assessed == 51
    assert enough_for(found) is None
    assert {one.name for one in found.prerequisites if not one.holds} >= {"P3", "P4"}


def test_declarations_change_no_points_when_everything_is_declared(build: Build) -> None:
    figures: dict[str, dict[str, Any]] = {
        "efficiency": {"score_db": 4.94, "energy_ratio": MODELLED, **GRADED},
        "social": {"cells": 6, "cells_within_margin_share": 1 / 6},
    }
    before = total(build(figures))
    declared = {"declarations": {"context_complete": 1, "datasheets_complete": 1, "faces_no": 1, "people_not_judged": 1,
                                 "affected_people_asked": 1, "people_none": 0}}  # fmt: skip
    after = score(build({**figures, **declared}), EDITION)
    assert after.points == before
    assert next(line.state for line in after.lines if line.name == "S7") == "declared"
    assert all(one.holds for one in after.prerequisites)


def test_cifar_int8_has_13_7_points_when_its_groups_are_too_small(build: Build, est: Any) -> None:
    figures = {
        "efficiency": {"score_db": 2.0, "energy_ratio": MODELLED, **GRADED},
        "social": {"cells": 10, "cells_within_margin_share": 0, "brier_difference": est(0.001, -0.0015, 0.0036)},
        "robustness": {"worst_corruption_loss_points": est(0.8, -1.1, 3.0),
                       "witnessed_loss_points": est(0, -3, 6.8)},
        "declarations": {"affected_people_asked": 1},
    }  # fmt: skip
    found = score(build(figures), EDITION)
    assert found.points == pytest.approx(13.7, abs=0.1)
    assert found.pillars == pytest.approx({"compute": 8, "federated": 0, "sovereignty": 0, "social": 5.7}, abs=0.1)
    assert found.assessed == 61
    assert [one.sentence for one in lacking(found, "certified") if one.kind == "floor"] == [
        "Compute-efficient machine learning: it has 8.0 of the 12 points required."
    ]
    states = {line.name: line.state for line in found.lines}
    assert (states["S1"], states["S3"], states["F1"]) == ("failed", "measured", "not assessed")


@pytest.mark.parametrize(
    ("within", "gap", "brier", "flips", "points"),
    [
        pytest.param(6, 3.49, 0.0020, 0.2, 6.7, id="int8"),
        pytest.param(5, 9.0, 0.00285, 2.1, 4.1, id="pruned, distilled, int8"),
        pytest.param(5, 9.0, 0.01335, 0.0, 3.9, id="pruned adversarially, int8"),
    ],
)
def test_adult_has_the_social_points_of_the_notes(
    build: Build, within: int, gap: float, brier: float, flips: float, points: float
) -> None:
    social = {"cells": 14, "cells_within_margin_share": within / 14, "widest_gap_change_points": gap,
              "brier_difference": brier, "flips_rise_points": flips}  # fmt: skip
    found = score(build({"social": social, "declarations": {"affected_people_asked": 1}}), EDITION)
    assert found.points == pytest.approx(points, abs=0.1)
    assert found.assessed == 14
    assert next(one.state for one in found.prerequisites if one.name == "P1") == "missing"


def test_best_case_has_85_points_and_is_enough_for_the_highest_level(build: Build, best: Any, words: Any) -> None:
    found = score(build(best(), words["again"](), words["attested"]("S7")), EDITION)
    assert found.points == pytest.approx(85.0, abs=0.1)
    assert found.pillars == pytest.approx({"compute": 49, "federated": 6.9, "sovereignty": 13.1, "social": 16}, abs=0.1)
    assert found.assessed == 99
    assert enough_for(found) == "platinum"
    assert next_level(found) is None


@pytest.mark.parametrize(("stated", "points"), [(1.0, 3.0), (5.5, 1.5), (7.99963, 0.667), (10.0, 0.0)])
def test_stated_epsilon_earns_half_of_its_points_when_an_auditor_attests_it(
    build: Build, words: Any, stated: float, points: float
) -> None:
    claim = {"privacy": {"epsilon_stated": stated, "delta": 1e-5}}
    (alone,) = (one for one in score(build(claim), EDITION).lines if one.name == "D1")
    assert (alone.points, alone.state, alone.source) == (0.0, "not assessed", "privacy")
    assert "only states epsilon" in alone.sentence and "auditor file" in alone.sentence
    (line,) = (one for one in score(build(claim, words["attested"]("D1")), EDITION).lines if one.name == "D1")
    assert line.points == pytest.approx(points, abs=1e-3) and line.state == ("attested" if points else "failed")
    assert "1 all points. Attested by" in line.sentence
    derived = score(build({"privacy": {**claim["privacy"], "epsilon": stated}}, words["attested"]("D1")), EDITION)
    assert next(one.points for one in derived.lines if one.name == "D1") == pytest.approx(2 * points, abs=2e-3)
    assert not total(build({}, words["attested"]("D1"))), "an attestation of nothing earns nothing"


# Rules


@pytest.mark.parametrize(("low", "points"), [(-3.0, 0.0), (0.0, 0.0), (4.5, 18.0), (10.0, 40.0), (99.0, 40.0)])
def test_linear_rule_takes_the_pessimistic_end_when_more_is_better(
    build: Build, est: Any, low: float, points: float
) -> None:
    assert total(build({"efficiency": {"score_db": est(99.0, low, 99.0)}})) == pytest.approx(points)


def test_linear_rule_earns_nothing_when_the_pessimistic_end_has_no_bound(build: Build, est: Any) -> None:
    found = score(build({"efficiency": {"log10_payback_inferences": est(5.0, 4.0, float("inf"))}}), EDITION)
    line = next(line for line in found.lines if line.name == "C4")
    assert (line.points, line.state) == (0.0, "failed")
    assert "without bound" in line.sentence


@pytest.mark.parametrize(
    ("level", "points"), [("wall", 5), ("counter", 5), ("sampled", 0), ("modelled", 0), ("proxy", 0), ("direct", 0)]
)
def test_level_of_evidence_earns_when_a_meter_was_read(build: Build, est: Any, level: str, points: float) -> None:
    assert total(build({"efficiency": {"energy_ratio": est(0.3, 0.2, 0.4, level)}})) == points


@pytest.mark.parametrize(
    "text",
    ["linear(a.b, high, 0, 10)", "linear(a.b, low, 10, 1)", "linear(a.b, value, 0, 1)", "linear(a.b, low, 1, 1)",
     "at_least(a.b, evidence, gold)", "at_least(a.b, high, 1)", "at_least(a, low, 1)", "declaration(a)", "a.b > 1",
     "linear(a.b, low, nan, 1)"],
)  # fmt: skip
def test_rule_is_refused_when_it_is_none_of_three_or_optimistic(text: str) -> None:
    with pytest.raises(CertificateError):
        parse_rule(text)


def test_refusal_earns_nothing_whatever_its_figures(build: Build, words: Any) -> None:
    refused = words["statement"]("privacy", {"epsilon": 1.0}, refused=True)
    found = score(Records(words["header"](), (refused,)), EDITION)
    line = next(line for line in found.lines if line.name == "D1")
    assert (line.points, line.state) == (0.0, "failed")


def test_attested_line_earns_half_when_a_third_party_signs(build: Build, words: Any) -> None:
    declared = {"declarations": {"affected_people_asked": 1}}
    found = score(build(declared, words["attested"]("S7")), EDITION)
    line = next(line for line in found.lines if line.name == "S7")
    assert (line.points, line.state) == (1.0, "attested")
    assert total(build(declared, words["attested"]("S7", key="1" * 64))) == 0
    assert total(build(declared, words["attested"]("C1"))) == 0


def test_measured_figure_stands_when_somebody_attests_more(build: Build, words: Any) -> None:
    assert total(build({"data_use": {"withdrawals_honoured": 0}}, words["attested"]("D4"))) == 0


def test_points_are_shown_rounded_down() -> None:
    assert (format_points(39.96), format_points(19.76), format_points(0.3 * 3 + 0.1)) == ("39.9", "19.7", "1.0")


def test_steps_name_the_pillar_under_its_floor_first(build: Build) -> None:
    found = score(build({"efficiency": {"score_db": 10.0, "energy_ratio": MODELLED, **GRADED}}), EDITION)
    first = steps(found, "silver")[0]
    assert first.name == "S1"
    assert str(first).startswith("+6.0 points: S1 test on more people")


# Levels


def level_lacks(found: Any, level: str) -> list[str]:
    return [one.kind for one in lacking(found, level)]


def test_level_is_lacking_when_a_point_less_than_its_total_was_counted(build: Build, best: Any, words: Any) -> None:
    found = score(build(best(), words["again"](), words["attested"]("S7")), EDITION)
    exact = replace(EDITION, levels={**EDITION.levels, "gold": replace(EDITION.levels["gold"], total=found.points)})
    more = replace(
        EDITION, levels={**EDITION.levels, "gold": replace(EDITION.levels["gold"], total=found.points + 0.1)}
    )
    assert level_lacks(score(found.records, exact), "gold") == []
    assert level_lacks(score(found.records, more), "gold") == ["points"]


def test_highest_level_is_lacking_when_energy_is_modelled(build: Build, best: Any, words: Any) -> None:
    figures = best()
    figures["efficiency"]["energy_ratio"] = MODELLED
    found = score(build(figures, words["again"](), words["attested"]("S7")), EDITION)
    assert found.points > 79 and "energy" in level_lacks(found, "platinum")
    assert "energy" not in level_lacks(found, "gold")


def test_floor_falls_away_and_the_highest_level_too_when_a_pillar_is_scoped_out(
    build: Build, best: Any, words: Any
) -> None:
    figures = {name: one for name, one in best().items() if name != "federation"}
    header = words["header"](scoped_out={"federated": "trained on one machine"})
    found = score(build(figures, words["again"](), header=header), EDITION)
    assert "floor" not in level_lacks(found, "platinum") and "scope" in level_lacks(found, "platinum")
    assert "floor" in level_lacks(score(build(figures, words["again"]()), EDITION), "platinum")


@pytest.mark.parametrize(("people_none", "out"), [(1, True), (0, False), (None, False)])
def test_social_pillar_is_scoped_out_when_nobody_is_concerned(
    build: Build, words: Any, people_none: int | None, out: bool
) -> None:
    figures = {} if people_none is None else {"declarations": {"people_none": people_none}}
    found = score(build(figures, header=words["header"](scoped_out={"social": "screws"})), EDITION)
    assert bool(found.scoped_out) == out
    assert not score(build(figures, header=words["header"](scoped_out={"compute": "no"})), EDITION).scoped_out


def test_refusal_meets_no_prerequisite_and_no_rule_of_a_level(words: Any) -> None:
    counter = Estimate(0.1, 0.1, 0.1, "1", 9, "test", EvidenceLevel.COUNTER)
    rows = (words["statement"]("efficiency", {"graded": 1, "energy_ratio": counter}, refused=True),)
    found = score(Records(words["header"](), rows), EDITION)
    assert next(one.state for one in found.prerequisites if one.name == "P1") == "missing"
    assert "energy" in level_lacks(found, "platinum")


# Editions


def test_edition_fits_its_published_schema() -> None:
    from importlib import resources

    import yaml

    for name in edition_names():
        text = (resources.files("certify.scorecard") / "editions" / f"{name}.yaml").read_text()
        validate(yaml.safe_load(text), "scorecard-edition-1", "certify.scorecard")


def test_edition_is_unknown_when_it_does_not_exist() -> None:
    with pytest.raises(UsageError, match="secure-2026"):
        load_edition("secure-2062")


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, pillars={**e.pillars, "social": replace(e.pillars["social"], points=21.0)}),
        lambda e: replace(e, credits={**e.credits, "S7": replace(e.credits["S7"], pillar="art")}),
        lambda e: replace(e, levels=dict(reversed(e.levels.items()))),
        lambda e: replace(e, levels={**e.levels, "gold": replace(e.levels["gold"], floors={"compute": 20.0})}),
        lambda e: replace(e, levels={**e.levels, "gold": replace(e.levels["gold"], signer="self-attested")}),
        lambda e: replace(e, levels={**e.levels, "gold": replace(e.levels["gold"], total=50.0)}),
        lambda e: replace(e, prerequisites={**e.prerequisites, "C1": e.prerequisites["P1"]}),
        lambda e: replace(e, credits={**e.credits, "S7": replace(e.credits["S7"], rule="linear(a.b, high, 0, 1)")}),
    ],
)
def test_edition_is_refused_when_it_contradicts_itself(change: Any) -> None:
    with pytest.raises(CertificateError):
        check_edition(change(EDITION))


# What must hold for every figure

RULES = [(name, parse_rule(credit.rule)) for name, credit in EDITION.credits.items()]
LINEAR = [(name, rule) for name, rule in RULES if rule.kind == "linear"]


@given(st.sampled_from(LINEAR), st.floats(-50, 50), st.floats(0, 50))
def test_worse_figure_never_earns_more(build: Build, named: Any, value: float, by: float) -> None:
    _, rule = named
    worse = value - by if rule.end == "low" else value + by
    figures = [{rule.assessment: {rule.figure: one}} for one in (value, worse)]
    assert total(build(figures[1])) <= total(build(figures[0]))


@given(st.sampled_from(LINEAR), st.floats(-50, 50), st.floats(0, 50), st.floats(0, 50))
def test_wider_interval_never_earns_more(build: Build, est: Any, named: Any, at: float, by: float, more: float) -> None:
    _, rule = named
    narrow, wide = est(at, at - by, at + by), est(at, at - by - more, at + by + more)
    points = [total(build({rule.assessment: {rule.figure: one}})) for one in (narrow, wide)]
    assert points[1] <= points[0]


@given(st.data())
def test_declaration_never_changes_points(build: Build, best: Any, data: Any) -> None:
    figures = best()
    flags = ("context_complete", "datasheets_complete", "people_not_judged", "faces_no", "people_none",
             "pledge_complete", "affected_people_asked", "bias_evaluation_claimed", "contradictions")  # fmt: skip
    declared = {name: data.draw(st.integers(0, 2)) for name in flags if data.draw(st.booleans())}
    without = {name: found for name, found in figures.items() if name != "declarations"}
    assert total(build({**without, "declarations": declared})) == total(build(without))


def test_prerequisites_are_asked_when_nothing_says_that_they_do_not_apply(build: Build, best: Any) -> None:
    stated, silent = best(), {name: one for name, one in best().items() if name not in ("declarations", "social")}
    for figures, state in ((stated, {"met", "not asked"}), (silent, {"missing"}), ({}, {"missing"})):
        asked = {one.name: one.state for one in score(build(figures), EDITION).prerequisites}
        assert {asked["P5"], asked["P6"]} <= state


LEVELS = (None, "certified", "silver", "gold", "platinum")


@given(st.data())
def test_removing_a_statement_never_raises_points_or_level(build: Build, best: Any, words: Any, data: Any) -> None:
    figures = best()
    for name in list(figures):
        for figure in list(figures[name]):
            if data.draw(st.booleans()):
                figures[name][figure] = data.draw(st.integers(0, 12))
    header = words["header"](scoped_out=data.draw(st.sampled_from([{}, {"federated": "no"}, {"social": "no people"}])))
    others = [words["again"](checked=data.draw(st.sampled_from(["cross-checked", "reproduced"])))]
    others += [words["attested"](name) for name in ("S7", "D4", "D1") if data.draw(st.booleans())]
    whole = score(build(figures, *others, header=header), EDITION)
    gone = data.draw(st.sampled_from([*figures, *range(len(others))]))
    less = {name: found for name, found in figures.items() if name != gone}
    rest = [one for number, one in enumerate(others) if number != gone]
    part = score(build(less, *rest, header=header), EDITION)
    assert part.points <= whole.points + 1e-9 or "social" in part.records.header.scoped_out
    assert LEVELS.index(enough_for(part)) <= LEVELS.index(enough_for(whole))
