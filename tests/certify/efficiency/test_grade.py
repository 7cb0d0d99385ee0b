from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.assessment.profile import Profile
from certify.assessments.efficiency.edition import Edition, load_edition
from certify.assessments.efficiency.grade import Grade, grade, score_db
from certify.assessments.efficiency.guards import GUARDS, Finding
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel

ORDER = "ABCDEFG"
EDITION = load_edition("2026")


def profile(
    ratio: float = 0.3,
    width: float = 0.0,
    loss: float = 0.0,
    loss_width: float = 0.0,
    level: EvidenceLevel = EvidenceLevel.COUNTER,
    null: tuple[float, float, float] = (1.0, 0.99, 1.01),
    guards: Mapping[str, str] | None = None,
) -> Profile:
    """A profile with U = ratio * (1 + width) and L = loss + loss_width."""
    estimates = {
        "energy_ratio": Estimate(ratio, ratio / (1 + width), ratio * (1 + width), "1", 10, "test", level),
        "relative_loss_percent": Estimate(loss, loss - loss_width, loss + loss_width, "%", 1500, "test"),
        "null_ratio": Estimate(null[0], null[1], null[2], "1", 10, "test", level),
    }
    judged = {**dict.fromkeys(GUARDS, "pass"), **(guards or {})}
    return Profile(estimates, tuple(Finding(name, o, f"Found {name}.") for name, o in judged.items()))  # type: ignore[arg-type]


def without(name: str) -> Profile:
    whole = profile()
    return Profile({key: value for key, value in whole.estimates.items() if key != name}, whole.guards)


@pytest.mark.parametrize(
    ("upper", "letter"),
    [(0.1, "A"), (10**-0.8, "B"), (10**-0.6, "C"), (10**-0.4, "D"), (10**-0.2, "E"), (1.0, "F"), (1.5, "G")],
)
def test_letter_is_exact_when_energy_lies_on_a_boundary(upper: float, letter: str, edition: Edition) -> None:
    assert grade(profile(upper), edition).letter == letter
    below = ORDER[min(ORDER.index(letter) + 1, 6)]
    assert grade(profile(upper * 1.000001), edition).letter == below


def test_one_percent_of_loss_costs_one_letter_when_energy_is_equal(edition: Edition) -> None:
    letters = [grade(profile(0.1, loss=float(percent)), edition).letter for percent in range(6)]
    assert letters == list("ABCDEF")


def test_score_follows_the_formula_when_both_ends_are_known(edition: Edition) -> None:
    result = grade(profile(0.25, width=0.1, loss=0.4, loss_width=0.2), edition)
    assert result.upper_ratio == pytest.approx(0.275)
    assert result.loss_percent == pytest.approx(0.6)
    assert result.score_db == pytest.approx(-10 * math.log10(0.275) - 1.2)
    assert (result.letter, result.text, result.modelled) == ("D", "D", False)


def test_loss_counts_as_zero_when_the_candidate_is_certainly_better(edition: Edition) -> None:
    result = grade(profile(0.1, loss=-1.0, loss_width=0.2), edition)
    assert (result.loss_percent, result.letter) == (0.0, "A")


def test_score_is_not_negative_zero_when_nothing_changed(edition: Edition) -> None:
    assert math.copysign(1, score_db(1.0, 0.0, edition)) == 1.0


def test_letter_is_g_when_the_candidate_is_more_expensive(edition: Edition) -> None:
    result = grade(profile(3.0), edition)
    assert (result.letter, result.reasons) == ("G", ())


def test_modelled_energy_has_tilde_and_no_a_when_it_would_be_a(edition: Edition) -> None:
    result = grade(profile(0.01, level=EvidenceLevel.MODELLED), edition)
    assert (result.letter, result.text, result.modelled) == ("B", "B~", True)
    assert result.score_db == pytest.approx(20.0)
    assert any("interval excludes the model's own error" in note for note in result.notes)
    assert grade(profile(0.3, level=EvidenceLevel.MODELLED), edition).text == "D~"


@pytest.mark.parametrize("level", [EvidenceLevel.WALL, EvidenceLevel.COUNTER, EvidenceLevel.SAMPLED])
def test_letter_has_no_tilde_when_energy_was_measured(level: EvidenceLevel, edition: Edition) -> None:
    assert grade(profile(0.05, level=level), edition).text == "A"


def test_bias_is_added_when_null_interval_excludes_one(edition: Edition) -> None:
    biased = grade(profile(0.3, null=(1.02, 1.01, 1.03)), edition)
    assert biased.upper_ratio == pytest.approx(0.32)
    assert any("bias of 0.02" in note for note in biased.notes)
    below = grade(profile(0.3, null=(0.97, 0.96, 0.99)), edition)
    assert below.upper_ratio == pytest.approx(0.33)
    assert grade(profile(0.3, null=(1.02, 0.99, 1.04)), edition).upper_ratio == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (without("energy_ratio"), "No energy figure"),
        (profile(level=EvidenceLevel.PROXY), "No energy figure"),
        (profile(width=math.inf), "No energy figure"),
        (without("relative_loss_percent"), "accuracy loss"),
        (profile(loss=5.01), "5.01 %"),
        (profile(loss=1.0, loss_width=4.5), "5.5 %"),
        (profile(loss_width=math.inf), "accuracy loss"),
        (Profile(profile().estimates, profile().guards[1:]), "was not evaluated"),
        (profile(guards={"null_holds": "fail"}), "Guard null_holds failed: found null_holds."),
        (profile(guards={"null_holds": "unknown"}), "must not be"),
    ],
)
def test_no_letter_is_given_when_a_condition_fails(refused: Profile, words: str, edition: Edition) -> None:
    result = grade(refused, edition)
    assert (result.letter, result.score_db, result.text) == (None, None, "refused")
    assert len(result.reasons) == 1
    assert words in result.reasons[0]
    assert result.reasons[0].endswith(".")


def test_letter_is_given_when_the_loss_is_exactly_five_percent(edition: Edition) -> None:
    assert grade(profile(0.1, loss=5.0), edition).letter == "F"


@pytest.mark.parametrize("name", GUARDS)
def test_each_guard_refuses_when_it_fails(name: str, edition: Edition) -> None:
    result = grade(profile(guards={name: "fail"}), edition)
    assert result.letter is None
    assert result.reasons == (f"Guard {name} failed: found {name}.",)


@pytest.mark.parametrize("name", GUARDS)
def test_each_guard_may_be_unknown_only_when_edition_says_so(name: str, edition: Edition) -> None:
    result = grade(profile(guards={name: "unknown"}), edition)
    assert (result.letter is not None) == (name in edition.grading.may_be_unknown)


def test_loss_and_what_could_not_be_shown_are_separate_when_graded(edition: Edition) -> None:
    result = grade(profile(loss=0.4, loss_width=0.5), edition)
    assert any(note.startswith("0.4 %") and "a further 0.5 % could not be ruled out" in note for note in result.notes)
    better = grade(profile(loss=-0.4, loss_width=0.5), edition)
    assert any(note.startswith("No accuracy was lost") and "0.1 %" in note for note in better.notes)
    shown = grade(profile(loss=-0.4, loss_width=0.3), edition)
    assert any(note.startswith("No accuracy was lost") and note.endswith("samples.") for note in shown.notes)


def test_note_says_how_many_images_are_needed_when_margin_is_not_shown(edition: Edition) -> None:
    whole = profile(loss=0.4, loss_width=0.9)
    estimates = {**whole.estimates, "samples_needed": Estimate.exact(4200, "1", "test")}
    notes = grade(Profile(estimates, whole.guards), edition).notes
    assert "With 1500 images a loss below 1 % cannot be shown; about 4200 are needed." in notes


ratios = st.floats(0.01, 5.0)
widths = st.floats(0.0, 2.0)
losses = st.floats(-3.0, 4.0)
more = st.floats(0.0, 1.0)
levels = st.sampled_from([EvidenceLevel.COUNTER, EvidenceLevel.MODELLED])


def rank(result: Grade) -> int:
    """0 for A; a refusal is worse than G."""
    return 7 if result.letter is None else ORDER.index(result.letter)


@given(ratios, widths, losses, more, levels)
def test_grade_never_improves_when_energy_rises(
    ratio: float, width: float, loss: float, added: float, level: EvidenceLevel
) -> None:
    before = grade(profile(ratio, width, loss, level=level), EDITION)
    after = grade(profile(ratio + added, width, loss, level=level), EDITION)
    assert rank(after) >= rank(before)


@given(ratios, losses, widths, more, levels)
def test_grade_never_improves_when_loss_rises(
    ratio: float, loss: float, width: float, added: float, level: EvidenceLevel
) -> None:
    before = grade(profile(ratio, loss=loss, loss_width=width, level=level), EDITION)
    after = grade(profile(ratio, loss=loss + added, loss_width=width, level=level), EDITION)
    assert rank(after) >= rank(before)


@given(ratios, widths, losses, widths, more, more)
def test_grade_never_improves_when_intervals_widen(
    ratio: float, width: float, loss: float, loss_width: float, wider: float, loss_wider: float
) -> None:
    before = grade(profile(ratio, width, loss, loss_width), EDITION)
    after = grade(profile(ratio, width + wider, loss, loss_width + loss_wider), EDITION)
    assert rank(after) >= rank(before)


@given(ratios, st.floats(0.9, 1.1), st.floats(0.001, 0.05))
def test_grade_never_improves_when_null_run_is_biased(ratio: float, null: float, half: float) -> None:
    honest = grade(profile(ratio), EDITION)
    assert rank(grade(profile(ratio, null=(null, null - half, null + half)), EDITION)) >= rank(honest)


@given(st.floats(0.005, 5.0), losses)
def test_modelled_grade_is_never_better_when_all_else_is_equal(ratio: float, loss: float) -> None:
    measured = grade(profile(ratio, loss=loss), EDITION)
    modelled = grade(profile(ratio, loss=loss, level=EvidenceLevel.MODELLED), EDITION)
    assert rank(modelled) == max(rank(measured), 1)


@pytest.mark.parametrize("graded", [profile(), profile(loss=9.0), without("energy_ratio")])
def test_grade_survives_json_when_written_and_read(graded: Profile, edition: Edition) -> None:
    result = grade(graded, edition)
    assert Grade.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    "change",
    [
        {"letter": 3},
        {"letter": None},
        {"modelled": "yes"},
        {"score_db": None},
        {"score_db": True},
        {"upper_ratio": "0.3"},
        {"reasons": ["because"]},
        {"notes": [1]},
        {"notes": "text"},
        {"more": 1},
    ],
)
def test_grade_refuses_when_json_is_malformed(change: dict[str, Any], edition: Edition) -> None:
    with pytest.raises(CertificateError):
        Grade.from_json({**grade(profile(), edition).to_json(), **change})


def test_outcome_follows_the_constants_of_the_edition(edition: Edition) -> None:
    strict = dataclasses.replace(edition, grading=dataclasses.replace(edition.grading, largest_loss_percent=1.0))
    assert grade(profile(loss=2.0), edition).letter is not None
    assert grade(profile(loss=2.0), strict).letter is None


@pytest.mark.parametrize(
    ("ratio", "width", "loss", "loss_width", "letters"),
    [(0.1, 0.5, 0.0, 0.0, "BA"), (0.1, 0.0, 0.0, 0.9, "BA"), (0.1, 0.0, -1.0, 0.5, "AA"), (0.1, 0.0, 1.0, 0.0, "BB")],
)
def test_point_letter_ignores_the_pessimism_of_both_intervals(
    ratio: float, width: float, loss: float, loss_width: float, letters: str, edition: Edition
) -> None:
    outcome = grade(profile(ratio, width, loss, loss_width), edition)
    assert f"{outcome.letter}{outcome.point_letter}" == letters


@given(st.floats(0.02, 2.0), st.floats(0, 0.5), st.floats(-1, 4), st.floats(0, 0.9), st.booleans())
def test_point_letter_is_never_worse_than_the_letter(
    ratio: float, width: float, loss: float, loss_width: float, modelled: bool
) -> None:
    level = EvidenceLevel.MODELLED if modelled else EvidenceLevel.COUNTER
    given = grade(profile(ratio, width, loss, loss_width, level), EDITION)
    assert given.letter is not None and given.point_letter is not None
    assert given.point_letter <= given.letter and not (modelled and given.point_letter == "A")


def test_point_letter_is_absent_when_refused(edition: Edition) -> None:
    assert grade(profile(guards={"null_holds": "fail"}), edition).point_letter is None
