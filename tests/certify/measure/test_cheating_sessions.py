"""Real sessions, inputs and data that cheat: each trips the one guard that is there for it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import GUARDS, Answer
from certify.core.evidence import Workload
from certify.core.run_observations import NodeCosts, SessionFacts
from certify.data import load
from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.measure import observations, runtimes
from certify.measure.client import Worker
from certify.measure.experiment import save_inputs
from certify.measure.model_under_test import session_facts, session_settings, subject
from certify.measure.plan import Plan
from certify.measure.runtimes.base import SessionOptions
from certify.measure.runtimes.onnxruntime_base import OnnxRuntime

RUNTIME = "onnxruntime-cpu"


def sessions(pair: Any, threads: tuple[int, int], graph_optimization: tuple[str, str]) -> dict[str, Any]:
    """Facts of real sessions of both models."""
    facts = {}
    for arm, path, count, level in zip(
        ("baseline", "candidate"), (pair.baseline, pair.candidate), threads, graph_optimization, strict=True
    ):
        settings = session_settings(RUNTIME, count, pair.contract.input_names, pair.contract.output_name)
        with Worker(arm, path, {**settings, "graph_optimization": level}) as worker:
            facts[arm] = session_facts(worker)
    return dict(observations.sessions(facts, {}, dict.fromkeys(facts, RUNTIME)).values)


@pytest.mark.parametrize(
    ("threads", "levels", "tripped"),
    [
        ((2, 2), ("all", "all"), {}),
        ((2, 2), ("none", "all"), {"baseline_at_best_settings": "fail"}),
        ((1, 2), ("all", "all"), {"baseline_at_best_settings": "fail"}),
    ],
    ids=["honest", "graph optimisation off", "another number of threads"],
)
def test_baseline_at_best_settings_fails_alone_when_its_session_is_slowed(
    threads: tuple[int, int], levels: tuple[str, str], tripped: dict[str, str], court: Any
) -> None:
    assert court.outcomes({"sessions": sessions(court.pair, threads, levels)}) == tripped


class _Elsewhere(OnnxRuntime):
    """A provider that has a kernel for nothing in these nets: the library puts every node on the processor."""

    provider = "AzureExecutionProvider"
    own_providers = frozenset({"AzureExecutionProvider"})


@pytest.fixture
def own_affinity() -> Iterator[None]:
    """A session opened in this process pins it."""
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("own_affinity")
def test_one_device_fails_alone_when_nodes_fall_back(court: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = _Elsewhere()
    if runtime.unavailable():
        pytest.skip("this build of onnxruntime has no provider beside the processor's")
    monkeypatch.setattr(runtimes, "get", lambda name: runtime)
    contract = court.pair.contract
    options = SessionOptions(contract.input_names, contract.output_name, 2, (min(os.sched_getaffinity(0)),) * 2)
    facts, costs = {}, {}
    for arm, path in (("baseline", court.pair.baseline), ("candidate", court.pair.candidate)):
        session = runtime.open(path, replace(options, profile=True))
        session.run(session.prepare(contract.batch(court.pair.dataset.test, [0])))
        facts[arm], costs[arm] = (
            SessionFacts.read(session.facts()),
            NodeCosts([], places=observations.places(session.nodes())),
        )
    told = dict(observations.sessions(facts, costs, dict.fromkeys(facts, "elsewhere")).values)
    workload = Workload(RUNTIME, "1", runtime.provider, 1, 2, 2)
    assert court.outcomes({"sessions": told}, workload=workload) == {"one_device": "fail"}
    assert told["candidate"]["elsewhere"]


def inputs(court: Any, pixels: np.ndarray) -> dict[str, Any]:
    """What is observed of the inputs that the windows of both models would go through."""
    dataset = replace(court.pair.dataset, test=Split(ArraySource(pixels), np.arange(len(pixels)) % 4))
    models = [
        subject(arm, court.pair.baseline, court.pair.contract, 1, court.folder) for arm in ("baseline", "candidate")
    ]
    return {"inputs": save_inputs(models, dataset, Plan()).values()}


RANDOM = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
IMAGES = np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None] // 2 + RANDOM // 4


@pytest.mark.parametrize(
    ("pixels", "tripped"),
    [
        (IMAGES, {}),
        (np.zeros_like(RANDOM), {"inputs_real": "fail"}),
        (RANDOM, {"inputs_real": "fail"}),
        (np.repeat(IMAGES[:1], 64, axis=0), {"inputs_real": "fail"}),
    ],
    ids=["images", "zeros", "random numbers", "one image again and again"],
)
def test_inputs_real_fails_alone_when_inputs_are(pixels: np.ndarray, tripped: dict[str, str], court: Any) -> None:
    assert court.outcomes(inputs(court, pixels)) == tripped


@pytest.mark.parametrize("part", ["train", "calibration", "validation"])
def test_test_unseen_fails_alone_when_a_part_holds_test_samples(part: str, court: Any) -> None:
    rng = np.random.default_rng(1)
    others = {
        name: Split(ArraySource(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)), np.arange(8) % 4)
        for name in ("train", "calibration", "validation")
    }
    honest: Dataset = replace(court.pair.dataset, **others)
    told = {observation.name: observation.values for observation in observations.data(honest)}
    assert court.outcomes(told) == {}
    seen = replace(honest, **{part: honest.test.subset([0, 1, 2])})
    told = {observation.name: observation.values for observation in observations.data(seen)}
    assert court.outcomes(told) == {"test_unseen": "fail"}


def changed(images: np.ndarray, change: str) -> np.ndarray:
    """Copies of images that differ from them in every digest."""
    if change == "mirrored":
        return images[:, :, ::-1]
    if change == "shifted by a pixel":
        return np.concatenate([images[:, :, :1], images[:, :, :-1]], axis=2)
    if change == "one grey level":
        return np.clip(images.astype(np.int16) + 1, 0, 255).astype(np.uint8)
    if change == "one bit of one pixel":
        images = images.copy()
        images[:, 9, 11, 0] ^= 1
        return images
    return np.stack([encoded_again(image) for image in images])


def encoded_again(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return np.asarray(Image.open(file))


CHANGES = ["mirrored", "shifted by a pixel", "one grey level", "one bit of one pixel", "JPEG 95"]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("mnist5k")


@pytest.fixture(scope="module")
def photos() -> Dataset:
    """Coloured images as smooth and as varied as photographs: noise whose amplitude falls with its frequency."""
    rng = np.random.default_rng(3)
    down, right = np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None]
    strength = 1 / np.maximum(np.hypot(down, right), 1 / 32)
    waves = np.fft.rfft2(rng.standard_normal((900, 3, 32, 32))) * strength
    pixels = np.fft.irfft2(waves, s=(32, 32)).transpose(0, 2, 3, 1)
    pixels = np.clip(128 + 40 * pixels / pixels.std(axis=(1, 2, 3), keepdims=True), 0, 255).astype(np.uint8)
    parts = np.split(pixels, [300, 350, 400])
    train, calibration, validation, test = (Split(ArraySource(part), np.arange(len(part)) % 4) for part in parts)
    return Dataset("photos", "tests:photos", tuple("abcd"), train, calibration, validation, test, (32, 32))


def observed(dataset: Dataset) -> dict[str, Any]:
    return {observation.name: observation.values for observation in observations.data(dataset)}


def test_real_digits_are_unseen_and_distinct(digits: Dataset, court: Any, edition: Edition) -> None:
    """They are alike, and none of them is called a copy."""
    told = observed(digits)
    assert court.outcomes(told) == {}
    assert all(pair["near"] == 0 and pair["samples"] == 1500 for pair in told["near_duplicates"].values())
    assert edition.thresholds.near_duplicates_share / 2 > 1 / 1500


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["digits", "photos"])
def test_test_unseen_fails_alone_when_training_holds_changed_test_samples(
    kind: str, change: str, court: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest: Dataset = request.getfixturevalue(kind)
    assert court.outcomes(observed(honest)) == {}
    test = honest.test.subset(range(300))
    images = changed(np.stack([test.image(i) for i in range(len(test))]), change)
    told = observed(replace(honest, test=test, train=Split(ArraySource(images), test.labels)))
    assert told["overlap"]["train/test"] <= 15  # by digest hardly any is found: some digits mirror themselves
    told["overlap"]["train/test"] = 0
    assert court.outcomes(told) == {"test_unseen": "fail"}
    assert told["near_duplicates"]["train/test"]["near"] >= 0.8 * len(test)
    monkeypatch.setitem(GUARDS, "test_unseen", lambda evidence, edition: Answer("pass", "It is disabled."))
    assert court.outcomes(told) == {}


@pytest.mark.parametrize("change", CHANGES)
def test_test_distinct_fails_alone_when_samples_are_repeated_with_a_change(
    change: str, digits: Dataset, court: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty samples that the candidate gets right, once more each: nothing has a digest of its own any more."""
    images = np.stack([digits.test.image(i) for i in range(500)])
    again = np.concatenate([images, changed(images[:40], change)])
    labels = np.concatenate([digits.test.labels[:500], digits.test.labels[:40]])
    told = observed(replace(digits, test=Split(ArraySource(again), labels)))
    assert court.outcomes(told) == {"test_distinct": "fail"}
    monkeypatch.setitem(GUARDS, "test_distinct", lambda evidence, edition: Answer("pass", "It is disabled."))
    assert court.outcomes(told) == {}
