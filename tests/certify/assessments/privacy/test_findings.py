"""Every named check passes on honest records and fails, or is unknown, where one thing is changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certify.assessment.assessment import profile_of
from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.privacy.assessment import Privacy
from certify.assessments.privacy.edition import load_edition
from certify.assessments.privacy.findings import CHECKS
from certify.assessments.privacy.records import (
    Batches,
    Choice,
    ClassAccuracy,
    Members,
    Randomness,
    Records,
    Sampling,
    SourceOf,
    Touch,
)
from certify.assessments.privacy.withholding import join, withhold
from certify.core.accounting import SubsampledGaussian, spent

sys.path.insert(0, str(Path(__file__).parent))

from honest_privacy import BATCH, KEY, NOISE, STEPS, UNITS, head, honest, pate, training

EDITION, PRIVACY = load_edition(), Privacy()


def seen_by_an_auditor(records: Records) -> Records:
    public, content = withhold(records, KEY)
    return join(public, content, KEY)


def judged(records: Records) -> tuple[Profile, ClaimOutcome]:
    profile = profile_of(PRIVACY, records, EDITION)
    return profile, PRIVACY.outcome(profile, EDITION)


def outcomes(records: Records) -> dict[str, str]:
    return {one.name: one.outcome for one in judged(records)[0].guards}


@pytest.mark.parametrize("make", [honest, pate])
@pytest.mark.parametrize("adjacency", ["add-remove", "replace-one"])
def test_every_check_passes_when_an_auditor_sees_honest_records(make: Callable[..., Records], adjacency: str) -> None:
    whole = seen_by_an_auditor(head(make(), adjacency=adjacency, claimed_epsilon=40.0))
    profile, outcome = judged(whole)
    assert {one.name: one.sentence for one in profile.guards if one.outcome != "pass"} == {}
    assert not outcome.refused and outcome.text == "weak, epsilon at most 40 at delta 1e-05"


def test_epsilon_equals_that_of_the_accountant_when_derived() -> None:
    profile, outcome = judged(seen_by_an_auditor(honest()))
    alone = spent([(SubsampledGaussian(NOISE, 0.2, STEPS), 1)], 1e-5, "add-remove").epsilon
    assert profile["epsilon"].value == pytest.approx(alone, rel=1e-12) and alone < 8
    assert outcome.text == "epsilon at most 8 at delta 1e-05" and outcome.notes == ()


def test_public_records_leave_withheld_values_to_the_auditor() -> None:
    public, _ = withhold(honest(), KEY)
    profile, outcome = judged(public)
    assert "epsilon" not in profile.estimates and profile["epsilon_stated"].value == 8.0
    unknown = {name for name, found in outcomes(public).items() if found == "unknown"}
    assert unknown == {
        "epsilon_within_claim", "delta_below_one_over_n", "rate_is_batch_over_n", "sampler_is_poisson",
        "parts_disjoint",
    }  # fmt: skip
    assert not outcome.refused and outcome.text == "epsilon at most 8 at delta 1e-05, as stated by the maker"


def test_claim_is_refused_when_public_records_state_the_noise_of_a_hidden_rate() -> None:
    public, _ = withhold(honest(), KEY)
    assert public.sgd[0].noise_multiplier is None and outcomes(public)["adjacency_kept"] == "pass"
    assert outcomes(training(public, noise_multiplier=NOISE))["adjacency_kept"] == "fail"
    every, _ = withhold(training(honest(), sampling=Sampling("all"), noise_multiplier=20.0), KEY)
    assert every.sgd[0].noise_multiplier == 20.0, "without sampling there is no rate to find"
    assert outcomes(every)["adjacency_kept"] == "pass" and "epsilon" in judged(every)[0].estimates


def test_epsilon_is_derived_in_public_when_one_record_is_replaced() -> None:
    public, _ = withhold(honest(adjacency="replace-one", claimed_epsilon=30.0), KEY)
    profile, outcome = judged(public)
    assert 8 < profile["epsilon"].value < 30 and not outcome.refused
    assert outcomes(public)["sampler_is_poisson"] == "unknown"


SEEDED, PUBLIC = Randomness("seeded"), Sampling("poisson", 0.2, BATCH, public=True)
NORM = "clipping norm"
CHANGED: dict[str, tuple[str, Callable[[Records], Records]]] = {
    "a claim that is too small": ("epsilon_within_claim", lambda r: head(r, claimed_epsilon=7.9)),
    "less noise": ("epsilon_within_claim", lambda r: training(r, noise_multiplier=2.0)),
    "more steps": ("epsilon_within_claim", lambda r: replace(training(r, steps=600), batches=_sizes(600))),
    "microbatches": ("epsilon_within_claim", lambda r: training(r, microbatch=2)),
    "public participation": ("epsilon_within_claim", lambda r: training(r, sampling=PUBLIC)),
    "fixed batches": ("epsilon_within_claim", lambda r: training(r, sampling=Sampling("fixed-size", 0.2, BATCH))),
    "no mechanism": ("epsilon_within_claim", lambda r: replace(r, sgd=(), touches=(), batches=())),
    "delta of 1 / N": ("delta_below_one_over_n", lambda r: head(r, delta=1 / UNITS)),
    "users with many records": ("unit_bounded", lambda r: head(r, unit="user", contribution_bound=9)),
    "users without a bound": ("unit_bounded", lambda r: head(r, unit="user", contribution_bound=None)),
    "too few clients": ("clients_enough", lambda r: head(r, unit="client", units=99)),
    "a raw touch": ("every_touch_accounted", lambda r: _touched(r, "raw")),
    "a touch under another mechanism": ("every_touch_accounted", lambda r: _touched(r, "dp-sgd#7")),
    "a private original": ("sources_public", lambda r: _source(r, SourceOf("original", "o", "private"))),
    "a private teacher": ("sources_public", lambda r: _source(r, SourceOf("teacher", "t", "private"))),
    "a private sample in public data": ("parts_disjoint", lambda r: _shared(r, "public:fashion-mnist")),
    "trials that are not counted": ("composition_complete", lambda r: head(r, attempts=2)),
    "a clipping norm from private data": ("choices_accounted", lambda r: _chosen(r, Choice(NORM, "private"))),
    "a choice under nothing": ("choices_accounted", lambda r: _chosen(r, Choice("size", "mechanism", "dp-sgd#7"))),
    "other gradients": ("sensitivity_bounded", lambda r: training(r, gradient_error=1e-3)),
    "a batch norm": ("no_cross_sample_layer", lambda r: training(r, cross_sample_layers=("bn1",))),
    "a seeded generator": ("noise_not_reproducible", lambda r: training(r, randomness=SEEDED)),
    "a recorded seed": ("noise_not_reproducible", lambda r: training(r, randomness=Randomness("os", seed=0))),
    "a rate of another N": ("rate_is_batch_over_n", lambda r: head(r, units=2999)),
    "shuffled batches": ("sampler_is_poisson", lambda r: replace(r, batches=(Batches("dp-sgd#0", 0, (600,) * STEPS),))),
    "a step without its size": ("sampler_is_poisson", lambda r: replace(r, batches=_sizes(STEPS - 1))),
    "a run without its sizes": ("sampler_is_poisson", lambda r: head(training(r, runs=2), claimed_epsilon=20.0)),
    "a batch larger than the data": ("sampler_is_poisson", lambda r: _one_size(r, UNITS + 1)),
    "a class that pays": ("classes_kept", lambda r: replace(r, classes=(*r.classes, ClassAccuracy("2", 100, 95, 30)))),
    "more right than there are": ("classes_kept", lambda r: replace(r, classes=(ClassAccuracy("0", 9, 10, 5),))),
}  # fmt: skip
CLEAN = {"too few clients": {"rate_is_batch_over_n", "sampler_is_poisson", "unit_bounded"},
         "a rate of another N": {"sampler_is_poisson"}, "no mechanism": {"composition_complete"},
         "a batch larger than the data": set()}  # fmt: skip
"""Further checks that such a change breaks of necessity."""


def _sizes(count: int) -> tuple[Batches, ...]:
    import numpy as np

    return (Batches("dp-sgd#0", 0, tuple(np.random.default_rng(5).binomial(UNITS, 0.2, count).tolist())),)


def _one_size(records: Records, size: int) -> Records:
    return replace(records, batches=(Batches("dp-sgd#0", 0, (size, *records.batches[0].sizes[1:])),))


def _touched(records: Records, how: str) -> Records:
    return replace(records, touches=(*records.touches, Touch("1 quantize_static", "train", (how,))))


def _source(records: Records, one: SourceOf) -> Records:
    return replace(records, sources=(*records.sources, one))


def _shared(records: Records, part: str) -> Records:
    extra = Members(part, (KEY.keyed("train 3"),))
    return replace(records, members=(*records.members, extra))


def _chosen(records: Records, one: Choice) -> Records:
    return replace(records, choices=(*records.choices, one))


@pytest.mark.parametrize("what", CHANGED)
def test_claim_is_refused_by_one_check_when_one_thing_is_changed(what: str) -> None:
    name, change = CHANGED[what]
    profile, outcome = judged(seen_by_an_auditor(change(honest())))
    failed = {one.name for one in profile.guards if one.outcome == "fail"}
    assert failed - CLEAN.get(what, set()) == {name}, {one.name: one.sentence for one in profile.guards}
    assert outcome.refused and any(reason.startswith(name) for reason in outcome.reasons)


LEFT_OUT: dict[str, tuple[str, bool, Callable[[Records], Records]]] = {
    "what the original saw": ("sources_public", True, lambda r: replace(r, sources=r.sources[1:])),
    "the digest of public data": (
        "sources_public", True, lambda r: _source(r, SourceOf("data", "unlabelled", "public")),
    ),
    "an original that nobody knows": (
        "sources_public", True, lambda r: replace(r, sources=(SourceOf("original", "o", "unknown", "11" * 32),)),
    ),
    "what a step read": (
        "every_touch_accounted", True, lambda r: replace(r, touches=(*r.touches, Touch("1 prune", "*", ("unknown",)))),
    ),
    "the reading of a mechanism": ("every_touch_accounted", True, lambda r: replace(r, touches=())),
    "gradients of a loop": ("sensitivity_bounded", False, lambda r: training(r, gradient_error=None)),
    "choices": ("choices_accounted", False, lambda r: replace(r, choices=())),
    "classes": ("classes_kept", False, lambda r: replace(r, classes=())),
    "identifiers": ("parts_disjoint", False, lambda r: replace(r, members=())),
    "the lineage": ("touches_from_lineage", False, lambda r: head(r, lineage=None)),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT_OUT)
def test_check_is_unknown_when_something_is_left_out(what: str) -> None:
    name, refused, change = LEFT_OUT[what]
    whole = seen_by_an_auditor(change(honest()))
    assert {key for key, found in outcomes(whole).items() if found != "pass"} == {name}
    outcome = judged(whole)[1]
    assert outcome.refused == refused and (refused or any(name in note for note in outcome.notes))


def test_every_check_fails_for_some_change() -> None:
    broken = {name for name, _ in CHANGED.values()} | {"adjacency_kept", "caps_fixed", "touches_from_lineage"}
    assert broken == set(CHECKS)


def test_records_are_refused_when_n_is_public_and_units_are_added_or_removed() -> None:
    assert outcomes(honest())["adjacency_kept"] == "fail"  # nothing was withheld
    assert outcomes(honest(adjacency="replace-one"))["adjacency_kept"] == "pass"


def test_sampling_does_not_amplify_when_batch_sizes_are_public() -> None:
    published = honest(adjacency="replace-one", claimed_epsilon=1000.0)
    assert judged(published)[0]["epsilon"].value > 40
    assert judged(replace(published, batches=()))[0]["epsilon"].value < 30


def test_votes_are_refused_when_caps_were_chosen_along_the_way_or_teachers_share_samples() -> None:
    late = replace(pate(), votes=(replace(pate().votes[0], caps_fixed_before=False),))
    assert outcomes(seen_by_an_auditor(late))["caps_fixed"] == "fail"
    shared = _shared(pate(), "teacher:0")
    assert outcomes(seen_by_an_auditor(shared))["parts_disjoint"] == "fail"
    fewer = replace(pate(), members=pate().members[:-1])
    assert outcomes(seen_by_an_auditor(fewer))["parts_disjoint"] == "unknown"
    assert outcomes(seen_by_an_auditor(head(pate(), contribution_bound=None)))["unit_bounded"] == "fail"


def test_text_explains_the_claim() -> None:
    text = " ".join(PRIVACY.repeated(withhold(honest(), KEY)[0])["statement"])
    for words in ("any one record in train", "epsilon 8 at delta 1e-05", "secret coin", "low bits",
                  "hidden; they are in the auditor file", "saw the raw private data"):  # fmt: skip
        assert words in text
    replaced = " ".join(PRIVACY.repeated(honest(adjacency="replace-one", contribution_bound=None))["statement"])
    assert "had another value" in replaced and "any number of records" in replaced
    assert "2 teachers" in " ".join(PRIVACY.repeated(pate())["statement"])
