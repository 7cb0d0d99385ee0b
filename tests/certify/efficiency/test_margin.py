from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.margin import needed_samples, next_letter, paired_table
from certify.assessments.efficiency.notes import about
from certify.assessments.efficiency.profile import derive
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.statistics.proportions import PairedTable, samples_needed

Maker = Callable[..., Evidence]


def test_table_is_recovered_from_the_profile_when_samples_are_right_or_wrong(
    make_evidence: Maker, edition: Edition
) -> None:
    estimates = derive(make_evidence(samples=900, both=800, only_baseline=17, only_candidate=6), edition).estimates
    assert paired_table(estimates) == PairedTable(800, 6, 17, 77)


def test_needed_samples_are_those_of_the_table(make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(make_evidence(samples=600, both=570, only_baseline=6, only_candidate=4), edition).estimates
    assert needed_samples(estimates, 1.0, edition) == samples_needed(PairedTable(570, 4, 6, 20), 1.0, 0.95)


def test_needed_samples_grow_with_the_square_when_scores_are_any_numbers(edition: Edition) -> None:
    estimates = {"relative_loss_percent": Estimate(0.5, -0.5, 1.5, "%", 1000, "test")}
    assert needed_samples(estimates, 1.0, edition) == 4000
    assert needed_samples(estimates, 0.75, edition) == 16_000


@pytest.mark.parametrize("margin", [0.5, 0.2])
def test_no_number_is_needed_when_the_observed_loss_reaches_the_margin(margin: float, edition: Edition) -> None:
    estimates = {"relative_loss_percent": Estimate(0.5, -0.5, 1.5, "%", 1000, "test")}
    assert needed_samples(estimates, margin, edition) is None
    assert needed_samples({}, margin, edition) is None


def test_next_letter_states_the_loss_that_its_score_allows(edition: Edition) -> None:
    # U = 0.2 is 6.99 dB: with no loss a C; a B needs 8 dB, which no accuracy can buy.
    assert next_letter("D", 0.2, False, edition) == ("C", pytest.approx((-10 * math.log10(0.2) - 6) / 2))
    assert next_letter("C", 0.2, False, edition) is None
    assert next_letter("A", 0.05, False, edition) is None
    assert next_letter("B", 0.05, True, edition) is None


def test_note_says_what_a_better_letter_needs_when_there_are_too_few_images(
    make_evidence: Maker, edition: Edition
) -> None:
    evidence = make_evidence(ratio=0.2, samples=600, both=570, only_baseline=3, only_candidate=3, noise=0.001)
    result = grade(derive(evidence, edition), edition)
    assert result.letter == "D"
    note = next(note for note in result.notes if "images this could be C" in note)
    allowed = (-10 * math.log10(result.upper_ratio or 1) - 6) / 2
    assert f"at most {allowed:.2g} %" in note
    assert "which 600 images cannot show" in note
    # The promise is kept: so many images with the same shares do earn it.
    needed = int(note.split("about ")[1].split()[0])
    more = make_evidence(
        ratio=0.2, samples=needed, both=round(0.95 * needed), only_baseline=round(0.005 * needed),
        only_candidate=round(0.005 * needed), noise=0.001,
    )  # fmt: skip
    assert grade(derive(more, edition), edition).letter == "C"


def test_note_says_how_many_images_any_letter_needs_when_refused(make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence(samples=500, both=420, only_baseline=30, only_candidate=16)
    result = grade(derive(evidence, edition), edition)
    assert result.letter is None
    assert any(
        note.startswith("With 500 images a loss of at most 5 %, which any letter needs") for note in result.notes
    )


@pytest.mark.parametrize(("count", "written"), [(7, "7"), (4200, "4200"), (4201, "4300"), (98_765, "99000")])
def test_about_rounds_up_to_two_digits(count: float, written: str) -> None:
    assert about(count) == written
