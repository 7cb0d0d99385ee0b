"""Every guard passes on honest evidence, and each is tripped alone by the one thing that it is there for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from forgeries import FORGERIES
from synthetic import CONTRACT, LIBRARIES, SURROUNDINGS, with_predictions

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, Finding, judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, ModelFacts, Workload

Maker = Callable[..., Evidence]


def outcomes(evidence: Evidence, edition: Edition) -> dict[str, str]:
    return {result.name: result.outcome for result in judge_guards(evidence, edition)}


def only(name: str, outcome: str) -> dict[str, str]:
    return {guard: outcome if guard == name else "pass" for guard in GUARDS}


def two_arms(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    return {"baseline": baseline, "candidate": candidate}


SESSION = {"graph_optimization": "all", "threads": 2, "providers": ["CPUExecutionProvider"], "spinning": True}
INPUTS = {"std": 0.9, "distinct": 64, "constant_share": 0.0, "neighbour_correlation": 0.9}
LEAN = {"given_digest": "aa" * 32, "given_bytes": 1000, "bytes": 1000, "given_cost": 1000, "cost": 1000}
TOKENS = {**INPUTS, "neighbour_correlation": None, "repetition": 90.0}
NONE = {"near": 0, "samples": 1500, "among": 2000, "of": 2000}
NEAR = {f"{part}/test": NONE for part in ("train", "calibration", "validation", "test")}
COPIES = {**NONE, "near": 900}
FEW = {"near": 20, "samples": 2000, "among": 10000, "of": 1000000}  # of a hundredth of the training part
FACE = {"input": [1, 3, 224, 224], "outputs": 10, "scored": 10, "graph_outputs": 1}

CLEAN = SURROUNDINGS
RUNTIME_FILE = next(iter(LIBRARIES))
OPENVINO = Workload("openvino", "1.0", "CPUExecutionProvider", 1, 2, 2)


def _swapped(name: str) -> dict[str, Any]:
    """Surroundings with another library of a name."""
    return {**CLEAN, "libraries": {**CLEAN["libraries"], name: "ff" * 32}}


def facts(baseline: dict[str, Any], candidate: dict[str, Any]) -> dict[str, ModelFacts]:
    """Of two models that differ from ordinary ones in some fields."""
    return {arm: dataclasses.replace(ModelFacts("aa", "bb", 1000, 1000, 1000, 1.0), **fields) for arm, fields in
            two_arms(baseline, candidate).items()}  # fmt: skip


UNLIKE_LISTS = {
    "unit": "J",
    "costs": {
        "baseline": {"onnxruntime-cpu": {"2": [1.0]}},
        "candidate": {"onnxruntime-cpu": {"2": [1.0]}, "openvino": {"2": [2.0]}},
    },
    "left_out": {"baseline": {}, "candidate": {}},
}

# Knobs of the builder that trip exactly one guard, each: (guard, knobs, words of its sentence).
CHEATS: list[tuple[str, dict[str, Any], str]] = [
    ("counter_agrees_with_power", {"observations": {"power_check": {"counter_j": 50.0, "integrated_j": 100.0}}}, "−50"),
    ("no_throttling", {"host": {"thermal_throttles": 2.0}}, "40 of 40 windows"),
    ("device_alone", {"host": {"foreign_cpu_share": 0.4}}, "40 %"),
    ("steal_low", {"host": {"steal_share": 0.3}}, "30 %"),
    ("steal_low", {"host": {"throttled_s": 0.2}}, "quota"),
    ("enough_windows", {"blocks": 9}, "at least 10"),
    ("enough_windows", {"blocks": 11}, "the pilot fixed 10, but more were run"),
    ("null_holds", {"null_bias": 0.2}, "cannot distinguish a saving from noise"),
    ("null_holds", {"null_noise": 0.2}, "cannot distinguish a saving from noise"),
    ("null_holds", {"null_attempts": 3}, "more attempts"),
    ("sessions_isolated", {"observations": {"workers": {"pids": {"baseline": 7, "candidate": 7}}}}, "shared"),
    (
        "sessions_isolated",
        {"observations": {"workers": {"pids": {"baseline": [5, 7, 9], "candidate": [6, 7]}}}},
        "shared",
    ),
    ("sessions_isolated", {"host": {"idle_workers_cpu_s": 0.5}}, "idle workers"),
    ("baseline_at_best_settings", {"threads_cost": {1: 0.5, 2: 1.0}}, "more than with the best"),
    (
        "baseline_at_best_settings",
        {"observations": {"sessions": two_arms({**SESSION, "graph_optimization": "off"}, SESSION)}},
        "optimisation was off",
    ),
    (
        "baseline_at_best_settings",
        {"observations": {"sessions": two_arms({**SESSION, "threads": 1}, SESSION)}},
        "did not run with the workload's",
    ),
    (
        "baseline_not_padded",
        {"observations": {"simplified": {**LEAN, "cost": 700, "removed": ["3 of 9 Conv"]}}},
        "30 % less work and 0 % fewer bytes, and was measured in that form (removed: 3 of 9 Conv)",
    ),
    (
        "baseline_not_padded",
        {"observations": {"simplified": {**LEAN, "cost": None, "failed": "No such operator."}}},
        "it may be padded: No such operator.",
    ),
    ("baseline_not_padded", {"observations": {"simplified": {**LEAN, "given_cost": None}}}, "it was not recorded"),
    ("baseline_not_padded", {"observations": {"simplified": None}}, "it was not recorded"),
    (
        "quantization_fused",
        {
            "observations": {
                "quantization": two_arms(
                    {"intended": 0, "fused": 0, "unfused": []},
                    {"intended": 54, "fused": 20, "unfused": ["conv1", "conv2", "conv3", "conv4"]},
                )
            }
        },
        "conv1, conv2, conv3, ...",
    ),
    (
        "channels_removed",
        {"observations": {"zero_channels": two_arms({"share": 0.0}, {"channels": 100, "zero": 50, "share": 0.5})}},
        "masked",
    ),
    (
        "one_device",
        {"observations": {"sessions": two_arms(SESSION, {**SESSION, "providers": ["CUDA", "CPUExecutionProvider"]})}},
        "another device",
    ),
    (
        "surroundings_clean",
        {"observations": {"surroundings": two_arms({**CLEAN, "isolated": False}, CLEAN)}},
        "isolated",
    ),
    (
        "surroundings_clean",
        {"observations": {"surroundings": two_arms(CLEAN, {**CLEAN, "variables": ["PATH", "ORT_X", "LD_PRELOAD"]})}},
        "The candidate ran with the variables LD_PRELOAD, ORT_X",
    ),
    (
        "surroundings_clean",
        {"observations": {"surroundings": two_arms({**CLEAN, "customized": ["sitecustomize"]}, CLEAN)}},
        "The baseline ran with the start-up modules sitecustomize",
    ),
    ("same_runtime", {"observations": {"surroundings": two_arms(_swapped(RUNTIME_FILE), CLEAN)}}, RUNTIME_FILE),
    ("same_runtime", {"observations": {"surroundings": two_arms(_swapped("system/libc.so.6"), CLEAN)}}, "libc.so.6"),
    (
        "same_runtime",
        {
            "observations": {"surroundings": two_arms(_swapped("other/slow.so"), CLEAN)},
            "header": {"libraries": {**LIBRARIES, "other/slow.so": "ff" * 32}},
        },
        "only one of the models had other/slow.so",
    ),
    ("same_runtime", {"header": {"libraries": {}}}, "the certificate states different digests"),
    ("same_runtime", {"header": {"workload": OPENVINO}}, "the runtime's own library is not among them"),
    ("same_choices", {"observations": {"runtime_choice": UNLIKE_LISTS}}, "the lists differ"),
    ("test_unseen", {"observations": {"overlap": {"train/test": 3, "calibration/test": 0}}}, "3 in train/test"),
    ("test_unseen", {"observations": {"near_duplicates": {**NEAR, "train/test": COPIES}}}, "900 of 1500 train/test"),
    ("test_unseen", {"observations": {"near_duplicates": {**NEAR, "train/test": FEW}}}, "20 of 2000 train/test"),
    ("test_distinct", {"observations": {"near_duplicates": {**NEAR, "test/test": COPIES}}}, "900 of 1500 test samples"),
    ("same_task", {"observations": {"interfaces": two_arms(FACE, {**FACE, "outputs": 2})}}, "2 outputs"),
    ("same_task", {"observations": {"interfaces": two_arms(FACE, {**FACE, "input": [1, 3, 96, 96]})}}, "1x3x96x96"),
    ("same_task", {"observations": {"interfaces": two_arms(FACE, {**FACE, "scored": 5})}}, "5 of them scored"),
    ("same_task", {"observations": {"interfaces": two_arms({**FACE, "graph_outputs": 3}, FACE)}}, "2 further results"),
    (
        "channels_removed",
        {"observations": {"zero_channels": two_arms({"share": 0.3}, {"share": 0.0})}},
        "larger than necessary",
    ),
    ("cost_counted", {"header": {"models": facts({}, {"varying_share": 0.9, "varying": ("If",)})}}, "(If)"),
    ("cost_counted", {"header": {"models": facts({"varying_share": 0.06}, {})}}, "6 % of the baseline's"),
    ("same_contract", {"observations": {"contracts": two_arms({**CONTRACT, "mean": [0.0] * 3}, CONTRACT)}}, "in mean"),
    ("same_contract", {"observations": {"contracts": two_arms({**CONTRACT, "colour": "BGR"}, CONTRACT)}}, "BGR, RGB"),
    ("test_distinct", {"observations": {"near_duplicates": {**NEAR, "test/test": {}}}}, "not checked for"),
    ("inputs_real", {"observations": {"inputs": {"std": 0.9}}}, "were not checked"),
    ("inputs_real", {"observations": {"inputs": {**INPUTS, "neighbour_correlation": None}}}, "not checked for"),
    ("inputs_real", {"observations": {"inputs": {**INPUTS, "std": 0.0}}}, "deviation of 0"),
    ("inputs_real", {"observations": {"inputs": {**INPUTS, "distinct": 1}}}, "1 different"),
    ("inputs_real", {"observations": {"inputs": {**INPUTS, "constant_share": 0.5}}}, "50 %"),
    ("inputs_real", {"observations": {"inputs": {**INPUTS, "neighbour_correlation": 0.01}}}, "correlate by 0.01"),
    ("inputs_real", {"observations": {"inputs": {**TOKENS, "repetition": 1.1}}}, "repeat 1.1 times"),
    ("outputs_finite", {"observations": {"outputs": two_arms({"finite": True}, {"finite": False})}}, "candidate"),
    ("baseline_beats_majority", {"both": 145, "only_baseline": 0, "only_candidate": 60}, "most common class"),
    ("candidate_beats_majority", {"both": 145, "only_baseline": 60, "only_candidate": 0}, "most common class"),
    ("enough_test_samples", {"samples": 499, "both": 480}, "at least 500 distinct samples; add 1 or more"),
    ("enough_test_samples", {"header": {"data": {"test_samples": 2000}}}, "from a test set of 2000: all of them"),
]


def test_every_guard_passes_when_evidence_is_honest(evidence: Evidence, edition: Edition) -> None:
    assert outcomes(evidence, edition) == dict.fromkeys(GUARDS, "pass")


def test_inputs_are_real_when_tokens_repeat_as_words_do(make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence(observations={"inputs": TOKENS})
    assert outcomes(evidence, edition) == dict.fromkeys(GUARDS, "pass")


@pytest.mark.parametrize(("name", "knobs", "words"), CHEATS, ids=[f"{c[0]}-{i}" for i, c in enumerate(CHEATS)])
def test_guard_fails_alone_when_its_setting_is_changed(
    name: str, knobs: dict[str, Any], words: str, make_evidence: Maker, edition: Edition
) -> None:
    evidence = make_evidence(**knobs)
    assert outcomes(evidence, edition) == only(name, "fail")
    profile = derive(evidence, edition)
    sentence = next(guard.sentence for guard in profile.guards if guard.name == name)
    assert words in sentence
    assert sentence.endswith(".")
    refused = grade(profile, edition)
    assert refused.letter is None
    assert any(f"Guard {name} failed" in reason for reason in refused.reasons)


def test_guards_all_have_a_cheat_that_trips_them() -> None:
    """The rest is tripped by changed windows (test_guards_of_windows.py) or answers (test_guards_of_answers.py), and in
    test_forgeries.py."""
    elsewhere = {"counter_moved", "counter_monotonic", "temperature_bounded"} | {one.finding for one in FORGERIES}
    elsewhere |= {"answers_stable", "same_on_changed", "same_cost_on_changed", "holds_on_fresh"}
    elsewhere |= {"metric_bound", "top1_kept", "candidate_beats_majority", "labels_agree"}  # test_made_to_fit.py
    assert {name for name, _, _ in CHEATS} | elsewhere == set(GUARDS)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("counter_agrees_with_power", {"observations": {"power_check": None}}),
        ("no_throttling", {"host": {"thermal_throttles": None}}),
        ("device_alone", {"host": {"foreign_cpu_share": None}}),
        ("steal_low", {"host": {"steal_share": None, "throttled_s": None}}),
        ("temperature_bounded", {"host": {"temperature_c": None}}),
        ("null_holds", {"null_attempts": 0}),
        ("sessions_isolated", {"observations": {"workers": None}}),
        ("sessions_isolated", {"host": {"idle_workers_cpu_s": None}}),
        ("baseline_at_best_settings", {"threads_cost": {1: 1.0}}),
        ("baseline_at_best_settings", {"threads_cost": {2: 1.0}}),
        ("quantization_fused", {"observations": {"quantization": None}}),
        ("quantization_fused", {"observations": {"quantization": two_arms({}, {})}}),
        ("channels_removed", {"observations": {"zero_channels": two_arms({"share": 0.0}, {})}}),
        ("test_unseen", {"observations": {"overlap": None}}),
        ("test_unseen", {"observations": {"near_duplicates": {"test/test": NONE}}}),
        ("test_unseen", {"observations": {"overlap": {"train/test": None, "calibration/test": 0}}}),
        ("same_task", {"observations": {"interfaces": two_arms(FACE, {"input": [1, 3, 9, 9]})}}),
        ("outputs_finite", {"observations": {"outputs": None}}),
    ],
)
def test_guard_alone_is_unknown_when_nothing_was_recorded(
    name: str, knobs: dict[str, Any], make_evidence: Maker, edition: Edition
) -> None:
    evidence = make_evidence(**knobs)
    assert outcomes(evidence, edition) == only(name, "unknown")
    result = grade(derive(evidence, edition), edition)
    if name in edition.grading.may_be_unknown:
        assert result.letter is not None
        assert any(f"Guard {name} is unknown" in note for note in result.notes)
    else:
        assert result.letter is None
        assert any(f"Guard {name} must not be unknown" in reason for reason in result.reasons)


def test_surroundings_are_unknown_when_those_of_a_model_were_not_recorded(
    make_evidence: Maker, edition: Edition
) -> None:
    for told in (None, {"baseline": CLEAN}, two_arms(CLEAN, {**CLEAN, "libraries": {}})):
        found = outcomes(make_evidence(observations={"surroundings": told}), edition)
        names = {"surroundings_clean", "same_runtime"}
        assert found == {guard: "unknown" if guard in names else "pass" for guard in GUARDS}


def test_same_runtime_passes_when_a_package_loads_more_for_one_model(make_evidence: Maker, edition: Edition) -> None:
    further = {"numpy/fft/_pocketfft.so": "0d" * 32}
    libraries = {**CLEAN["libraries"], **further, "system/libcuda.so.1": "0e" * 32}
    told = {"surroundings": two_arms(CLEAN, {**CLEAN, "libraries": libraries})}
    evidence = make_evidence(observations=told, header={"libraries": {**LIBRARIES, **further}})
    assert outcomes(evidence, edition)["same_runtime"] == "pass"


def test_steal_low_judges_the_known_part_when_the_other_is_unknown(make_evidence: Maker, edition: Edition) -> None:
    assert outcomes(make_evidence(host={"throttled_s": None}), edition)["steal_low"] == "pass"
    assert outcomes(make_evidence(host={"steal_share": None, "throttled_s": 0.3}), edition)["steal_low"] == "fail"


def test_same_task_passes_when_only_the_layout_differs(make_evidence: Maker, edition: Edition) -> None:
    other = {**FACE, "input": [1, 224, 224, 3]}
    assert outcomes(make_evidence(observations={"interfaces": two_arms(FACE, other)}), edition)["same_task"] == "pass"


def test_baseline_may_have_one_thread_when_the_machine_has_only_one(make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence(threads_cost={2: 1.0}, header={"device": {"processors_allowed": 1}})
    assert outcomes(evidence, edition)["baseline_at_best_settings"] == "pass"


def test_baseline_may_have_one_thread_number_when_an_accelerator_computes(
    make_evidence: Maker, edition: Edition
) -> None:
    device = {"processor": "made up", "processors_allowed": 2, "accelerator": "a GPU"}
    for runtime, outcome in (("torch-cuda", "pass"), ("onnxruntime-cpu", "unknown"), ("openvino", "unknown")):
        workload = Workload(runtime, "1.0", "CPUExecutionProvider", 1, 2, 2)
        evidence = make_evidence(threads_cost={2: 1.0}, header={"device": device, "workload": workload})
        assert outcomes(evidence, edition)["baseline_at_best_settings"] == outcome


def test_enough_test_samples_fails_when_samples_are_copies(evidence: Evidence, edition: Edition) -> None:
    copied = tuple(dataclasses.replace(p, digest=str(i % 400)) for i, p in enumerate(evidence.predictions))
    assert outcomes(with_predictions(evidence, copied), edition) == only("enough_test_samples", "fail")


def test_letter_is_given_from_500_distinct_samples_on(make_evidence: Maker, edition: Edition) -> None:
    for samples, is_graded in ((500, True), (499, False)):
        assert (
            grade(derive(make_evidence(samples=samples, both=480), edition), edition).letter is not None
        ) is is_graded


def test_guards_that_need_predictions_do_not_pass_when_there_are_none(evidence: Evidence, edition: Edition) -> None:
    bare = outcomes(dataclasses.replace(evidence, predictions=()), edition)
    assert (bare["baseline_beats_majority"], bare["enough_test_samples"]) == ("unknown", "fail")


def test_guards_never_crash_when_evidence_is_empty(evidence: Evidence, edition: Edition) -> None:
    empty = dataclasses.replace(evidence, windows=(), latencies=(), predictions=(), observations=())
    found = outcomes(empty, edition)
    passed = {name for name, outcome in found.items() if outcome == "pass"}
    assert passed == {"meter_known", "energy_above_idle", "cost_counted", "metric_bound", "same_choices"}
    assert grade(derive(empty, edition), edition).letter is None


@pytest.mark.parametrize(
    "observations",
    [
        {"inputs": {**INPUTS, "std": "0.9"}},
        {"zero_channels": {"baseline": [], "candidate": []}},
        {"interfaces": two_arms(FACE, {**FACE, "input": 3})},
        {"overlap": {"train/test": True}},
        {"power_check": {"counter_j": 1e300, "integrated_j": 1.0}},
    ],
)
def test_guards_refuse_when_an_observation_has_the_wrong_type(
    observations: dict[str, Any], make_evidence: Maker, edition: Edition
) -> None:
    with pytest.raises(CertificateError, match="Evidence"):
        judge_guards(make_evidence(observations=observations), edition)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a", "outcome": "pass"},
        {"name": "a", "outcome": "perhaps", "sentence": "b"},
        {"name": 1, "outcome": "pass", "sentence": "b"},
        {"name": "a", "outcome": "pass", "sentence": "b", "more": "c"},
    ],
)
def test_guard_result_refuses_when_json_is_malformed(fields: dict[str, Any]) -> None:
    with pytest.raises(CertificateError):
        Finding.from_json(fields)


def test_guards_that_do_not_apply_to_arrays_are_unknown_and_keep_the_letter(
    make_evidence: Maker, edition: Edition
) -> None:
    """By the contract alone; what can be checked for arrays still fails."""
    contract = {"kind": "arrays", "inputs": ["x"], "shapes": [[9]], "dtypes": ["float32"], "output_name": "y",
                "reading": "logits", "class_map": None}  # fmt: skip
    seen = {**INPUTS, "neighbour_correlation": None}
    observed = {"contracts": {"baseline": contract, "candidate": contract, "declared": None}, "inputs": seen,
                "near_duplicates": None, "changed_answers": None, "changed_cost": None}  # fmt: skip
    unknown = {"test_unseen", "test_distinct", "inputs_real", "same_on_changed", "same_cost_on_changed"}
    evidence = make_evidence(observations=observed)
    found = outcomes(evidence, edition)
    assert {name for name in unknown if found[name] == "unknown"} == unknown
    result = grade(derive(evidence, edition), edition)
    assert result.letter is not None
    assert all(any(f"Guard {name} is unknown" in note for note in result.notes) for name in unknown)
    constant = make_evidence(observations={**observed, "inputs": {**seen, "std": 0.0}})
    assert outcomes(constant, edition)["inputs_real"] == "fail"
