"""Data, attempts, names and files made to fit in ways that nothing finds, as SECURITY.md states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import padded
import pytest
import recognisers as made
from onnx import numpy_helper
from test_attempts import WORKLOAD, count

from certify.core.scripts import look_alikes
from certify.data import Dataset, Split, load
from certify.data.arrays import ArraySource
from certify.data.near_duplicates import near_duplicates
from certify.measure.model_under_test import subject
from certify.model_file.model_file import open_model

State = Callable[[str], None]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = load("mnist5k")
    return replace(data, calibration=None, validation=None, test=data.test.subset(range(200)))


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("rotations", lambda images: np.rot90(images, 2, axes=(1, 2))),
        ("negatives", lambda images: 255 - images),
        (
            "crops",
            lambda images: np.pad(images[:, 4:-4, 4:-4], ((0, 0), (0, 8), (0, 8), *[(0, 0)] * (images.ndim - 3))),
        ),
        ("shifts of more than two pixels", lambda images: np.roll(images, 4, axis=2)),
    ],
)
def test_known_limit_copies_in_training_are_missed_when_they_are(
    words: str, change: Callable[[np.ndarray], np.ndarray], digits: Dataset, stated: State
) -> None:
    stated("rotations, negatives, crops, shifts of more than two pixels")
    images = np.stack([digits.test.image(i) for i in range(len(digits.test))])
    copies = Split(ArraySource(np.ascontiguousarray(change(images))), digits.test.labels)
    found = near_duplicates(replace(digits, train=copies))["train/test"]
    assert found.near <= 0.02 * len(digits.test), words
    same = Split(ArraySource(np.clip(images.astype(int) + 1, 0, 255).astype(np.uint8)), digits.test.labels)
    assert near_duplicates(replace(digits, train=same))["train/test"].near > 0.9 * len(digits.test)


def _rescaled(model: onnx.ModelProto) -> None:
    """Each channel of the first layer times a factor of its own."""
    for weight in model.graph.initializer:
        if weight.name.startswith("w1"):
            values = numpy_helper.to_array(weight)
            factors = np.random.default_rng(1).uniform(0.5, 2, (len(values), *[1] * (values.ndim - 1)))
            weight.CopyFrom(numpy_helper.from_array((values * factors).astype(values.dtype), weight.name))


def _nudged(model: onnx.ModelProto) -> None:
    """Weights changed by a hundredth of their spread."""
    for weight in model.graph.initializer:
        if len(weight.dims) == 4:
            values = numpy_helper.to_array(weight)
            noise = np.random.default_rng(2).standard_normal(values.shape) * values.std() / 20
            weight.CopyFrom(numpy_helper.from_array((values + noise).astype(values.dtype), weight.name))


@pytest.mark.parametrize("change", [_nudged, _rescaled])
def test_known_limit_attempt_is_not_counted_when_weights_are_changed(
    change: Callable[[onnx.ModelProto], None], small_pair: Any, tmp_path: Path, stated: State
) -> None:
    stated("weights changed by more than a thousandth of their statistics, such as by other factors for each channel")
    with open_model(small_pair.baseline) as model:
        known = model.identities()
    assert count(known) == 1
    changed = onnx.load(str(small_pair.baseline))
    change(changed)
    onnx.save(changed, str(tmp_path / "changed.onnx"))
    with open_model(tmp_path / "changed.onnx") as model:
        assert count(model.identities()) == 1
    assert count(known) == 2


def test_known_limit_attempt_is_not_counted_when_the_data_the_runtime_or_the_log_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stated: State
) -> None:
    stated("test data without one sample; another batch or version of the runtime")
    stated("a new state folder (`LEANMARK_STATE_HOME`), a deleted log, another machine")
    assert count() == 1
    assert count(data="data without one sample") == 1
    assert count(workload=replace(WORKLOAD, batch=2)) == count(workload=replace(WORKLOAD, runtime_version="2")) == 1
    assert count() == 2
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path))
    assert count() == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("words entirely in one script that look like others", "\u0430\u0441\u0435"),
        ('"l" for "1"', "ResNet-l8"),
        ("a dotless i", "M\u0131niLM"),
        ("a Japanese or Chinese stroke in place of a dash", "\u30e2\u30c7\u30eb ResNet\u30fc50"),
        ("claims that are simply false", "grade A, certified by everybody"),
    ],
)
def test_known_limit_name_is_believed_when_it_has(words: str, text: str, stated: State) -> None:
    stated(words)
    assert look_alikes(text) is None


def test_known_limit_cost_is_constant_when_denormal_numbers_make_a_candidate_slow(
    tmp_path: Path, stated: State
) -> None:
    """Bright images are multiplied in denormal numbers, and no operator says so."""
    stated("data-dependent work inside one operator (a kernel that skips zeros; denormal numbers, in the candidate)")
    onnx.save(padded.denormal(True), str(tmp_path / "model.onnx"))
    facts = subject("candidate", tmp_path / "model.onnx", made.CONTRACT, 1, tmp_path).facts
    assert (facts.varying_share, facts.counted_share) == (0, 1)
