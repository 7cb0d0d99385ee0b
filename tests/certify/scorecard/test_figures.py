"""What each assessment offers to a scorecard, and what statements are held against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from certify.assessment.registry import assessments
from certify.assessments.data_use.assessment import DataUse
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.robustness.assessment import Robustness
from certify.assessments.social.assessment import Social
from certify.core.estimate import Estimate
from certify.scorecard.edition import SIGNERS_FIGURES, load_edition
from certify.scorecard.findings import contradictions, judge
from certify.scorecard.records import Records, dump, parse

EDITION = load_edition()
PROFILE: dict[str, Any] = {"estimates": {}, "guards": []}


def profile(figures: dict[str, Estimate], **guards: str) -> dict[str, Any]:
    return {
        "estimates": {name: one.to_json() for name, one in figures.items()},
        "guards": [{"name": name, "outcome": outcome, "sentence": "."} for name, outcome in guards.items()],
    }


def test_every_rule_reads_an_assessment_that_exists() -> None:
    assert set(EDITION.figures) <= {*assessments(), SIGNERS_FIGURES}


def test_policy_counts_when_decisions_follow_and_withdrawals_only_where_rows_tell() -> None:
    passed = {"policy_bound": "pass", "decisions_follow": "pass", "actions_permitted": "pass"}
    found = DataUse().figures({"profile": profile({}, **passed, withdrawn_excluded="unknown")})
    assert found["policy_bound"].value == 1 and "withdrawals_honoured" not in found
    found = DataUse().figures({"profile": profile({}, **{**passed, "decisions_follow": "fail"})})
    assert found["policy_bound"].value == 0
    found = DataUse().figures({"profile": profile({}, **passed, withdrawn_excluded="fail")})
    assert found["withdrawals_honoured"].value == 0


def test_witnessed_loss_is_the_largest_over_all_sizes(est: Callable[..., Estimate]) -> None:
    figures = {
        "standing_2_candidate": est(0.4), "standing_2_change_points": est(-3, -6, 1),
        "standing_8_candidate": est(0.1), "standing_8_change_points": est(2, -9, 4),
    }  # fmt: skip
    found = Robustness().figures({"profile": profile(figures)})["witnessed_loss_points"]
    assert (found.value, found.low, found.high) == (3, -1, 9)
    assert "witnessed_loss_points" not in Robustness().figures({"profile": PROFILE})


def test_gaps_and_flips_are_the_worst_over_all_attributes(est: Callable[..., Estimate]) -> None:
    figures = {
        "sex_false_negative_gap_change_points": est(1, -2, 3), "race_error_gap_change_points": est(-1, -5, 6),
        "sex_selection_gap_change_points": est(9, 8, 20), "sex_flips_change_points": est(0.5, 0.1, 0.9),
    }  # fmt: skip
    found = Social().figures({"profile": profile(figures)})
    widest = found["widest_gap_change_points"]
    assert (widest.value, widest.low, widest.high) == (1, -2, 6)
    assert found["flips_rise_points"].high == 0.9


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, {"people_not_judged": 0, "faces_no": 0, "people_none": 0, "context_complete": 0, "pledge_complete": 0}),
        ({"people": "unknown", "faces": "unknown"}, {"people_not_judged": 0, "faces_no": 0}),
        ({"people": "none", "faces": "no"}, {"people_not_judged": 1, "faces_no": 1, "people_none": 1}),
        ({"safe_face": {"2.1": {"answer": "yes", "text": "we do"}}}, {"bias_evaluation_claimed": 1}),
        ({"safe_face": {"2.1": {"answer": "no", "text": "we do not"}}}, {"bias_evaluation_claimed": 0}),
    ],
)
def test_declarations_count_as_the_strictest_when_not_stated(declared: Any, expected: dict[str, float]) -> None:
    from certify.assessments.declarations.declaration import FORMAT

    predicate = {"declared": {"declaration": FORMAT, **declared}, "profile": PROFILE}
    found = Declarations().figures(predicate)
    assert {name: found[name].value for name in expected} == expected


def found_of(records: Records) -> dict[str, str]:
    return {one.name: one.outcome for one in judge(records, EDITION)}


def test_clause_on_bias_is_contradicted_when_no_groups_were_measured(build: Any) -> None:
    claimed = {"declarations": {"bias_evaluation_claimed": 1}}
    assert set(contradictions(build(claimed))) == {"P6"}
    assert not contradictions(build({**claimed, "social": {"cells": 14}}))
    assert found_of(build(claimed))["no_contradiction"] == "fail"


def test_people_none_is_contradicted_when_groups_were_measured(build: Any) -> None:
    assert set(contradictions(build({"declarations": {"people_none": 1}, "social": {"cells": 14}}))) == {"P3"}
    assert set(contradictions(build({"declarations": {"contradictions": 2}}))) == {"P3"}
    assert not contradictions(build({"declarations": {"people_none": 1, "contradictions": 0}}))


@pytest.mark.parametrize(
    ("shown", "delta", "refused", "points"),
    [(3.5, 1e-5, True, 0.0), (3.5, 1e-5, False, 0.0), (2.5, 1e-5, False, 42 / 9), (3.5, 1e-6, False, 42 / 9)],
)
def test_claim_of_privacy_earns_nothing_when_canaries_refute_it(
    words: Any, shown: float, delta: float, refused: bool, points: float
) -> None:
    from certify.scorecard.levels import score

    audit = {"canary_epsilon_shown": shown, "canary_delta": delta}
    rows = (
        words["statement"]("privacy", {"epsilon": 3.0, "epsilon_stated": 3.0, "delta": 1e-5}),
        words["statement"]("privacy_audit", audit, refused=refused),  # an audit of the refuted claim is a refusal
    )
    records = Records(words["header"](), rows)
    (line,) = (one for one in score(records, EDITION).lines if one.name == "D1")
    assert line.points == pytest.approx(points)
    assert found_of(records)["no_contradiction"] == ("pass" if points else "fail")
    assert points or line.sentence == "Canaries show epsilon of at least 3.5, and the privacy statement claims 3."


def test_prerequisite_is_contradicted_when_its_figure_is_of_a_refuted_claim(build: Any) -> None:
    from certify.scorecard.lines import prerequisites

    (name, one), *_ = EDITION.prerequisites.items()
    private = replace(one, rule="at_least(privacy.epsilon, low, 1)", unless="")
    claim = {"epsilon": 3.0, "epsilon_stated": 3.0, "delta": 1e-5}
    for shown, state in ((3.5, "contradicted"), (2.5, "met")):
        made = build({"privacy": claim, "privacy_audit": {"canary_epsilon_shown": shown, "canary_delta": 1e-5}})
        (found,) = prerequisites(made, replace(EDITION, prerequisites={name: private}))
        assert found.state == state


@pytest.mark.parametrize(
    ("field", "one", "other", "check"),
    [
        ("lineage", "a" * 64, "b" * 64, "one_lineage"),
        ("test_data", "a" * 64, "b" * 64, "one_test_set"),
        ("baseline", ("a" * 64,), ("b" * 64, "c" * 64), "one_baseline"),
    ],
)
def test_statements_of_other_makings_or_data_are_found(
    words: Any, field: str, one: Any, other: Any, check: str
) -> None:
    for second, outcome in ((one, "pass"), (other, "fail")):
        rows = (
            words["statement"]("efficiency", {}, **{field: one}),
            words["statement"]("social", {}, **{field: second}),
        )
        assert found_of(Records(words["header"](), rows))[check] == outcome


def test_line_earns_nothing_when_it_compares_with_another_baseline(words: Any) -> None:
    from certify.scorecard.levels import score

    for second, points in (("a", 6.0), ("b", 0.0)):
        rows = (
            words["statement"]("efficiency", {}, baseline=("a" * 64,)),
            words["statement"]("social", {"cells_within_margin_share": 1.0}, baseline=(second * 64,)),
        )
        assert score(Records(words["header"](), rows), EDITION).points == points


def test_key_of_a_maker_is_found_when_it_counts_as_anothers(build: Any, words: Any) -> None:
    assert found_of(build({"social": {"cells": 1}}, words["again"](key="1" * 64)))["others_are_others"] == "fail"
    assert found_of(build({"social": {"cells": 1}}, words["attested"]("S9")))["others_are_others"] == "fail"
    assert found_of(build({"social": {"cells": 1}}, words["again"]()))["others_are_others"] == "pass"


@pytest.mark.parametrize("value", ["1", True, "1.0"])
def test_records_are_refused_when_a_number_stands_as_something_else(build: Any, value: Any) -> None:
    from certify.core.errors import CertificateError

    records = build({"social": {"cells": 1}})
    records.rows[0].figures["cells"]["value"] = value
    with pytest.raises(CertificateError, match="not written as figures are"):
        parse(dump(records), "r")


def test_records_are_counted_for_one_edition(build: Any, words: Any) -> None:
    other = words["header"](edition_digest="0" * 64)
    assert found_of(build({"social": {"cells": 1}}, header=other))["edition_counted"] == "fail"
    strange = words["header"](scoped_out={"art": "none"})
    assert found_of(build({"social": {"cells": 1}}, header=strange))["edition_counted"] == "fail"


def test_records_read_back_the_same_and_count_nothing_twice(build: Any, words: Any, best: Any) -> None:
    from certify.core.errors import CertificateError

    records = build(best(), words["again"](), words["attested"]("S7"), words["attested"]("D4"))
    assert dump(parse(dump(records), "r")) == dump(records)
    for rows in ((records.rows[0],) * 2, (words["again"](), words["again"](checked="cross-checked")),
                 (words["attested"]("S7"),) * 2):  # fmt: skip
        with pytest.raises(CertificateError, match="twice"):
            parse(dump(Records(records.header, rows)), "r")
