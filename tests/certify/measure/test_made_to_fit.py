"""Metrics and answers made to fit, on real digits by real models: each trips the one guard that is there for it.

The files and their outputs are real; the windows, on which these guards do not look, are made up and honest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, Answer
from certify.assessments.efficiency.profile import derive
from certify.core.errors import ModelError
from certify.core.evidence import Evidence
from certify.data import Dataset, Split, load, score
from certify.data.arrays import ArraySource, array_split
from certify.data.constant_answers import Answers
from certify.data.images import ImagePreprocess
from certify.data.metrics import Metric, get_metric
from certify.measure import observations
from certify.measure.experiment import measure
from certify.measure.plan import Plan
from certify.measure.predictions import Predicted, pair

PIXELS, DIGITS = 28 * 28, 10
CODE = "ab" * 32

CONTRACT = ImagePreprocess(
    input_name="image", output_name="classes", height=28, width=28, layout="NCHW", colour="L", scale=255.0,
    mean=(0.0,), std=(1.0,), resize=None, crop="none", interpolation="bilinear", reading="logits",
)  # fmt: skip


@dataclass(frozen=True)
class Digits:
    """Real digits, and a model that was trained on them; files of others are made from its weights."""

    data: Dataset
    weights: np.ndarray
    folder: Path

    def model(self, name: str, weights: np.ndarray, bias: np.ndarray | None = None) -> Path:
        """A file of one layer, (784, 10)."""
        nodes = [
            helper.make_node("Flatten", ["image"], ["flat"], name="flatten"),
            helper.make_node("Gemm", ["flat", "w", "b"], ["classes"], name="head"),
        ]
        bias = np.zeros(DIGITS) if bias is None else bias
        tensors = [
            numpy_helper.from_array(array.astype(np.float32), name) for name, array in (("w", weights), ("b", bias))
        ]
        ports = [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28]),
            helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", DIGITS]),
        ]
        graph = helper.make_graph(nodes, "digits", ports[:1], ports[1:], tensors)
        path = self.folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        return path

    def noisy(self, share: float) -> Path:
        """The model with noise of a share of its weights' spread."""
        noise = np.random.default_rng(1).standard_normal(self.weights.shape) * self.weights.std() * share
        return self.model(f"noisy{share}", self.weights + noise)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Softmax regression by gradient descent, about a second."""
    data = load("mnist5k")
    assert data.train is not None
    x = CONTRACT.batch(data.train, range(len(data.train))).reshape(-1, PIXELS)
    truth = np.eye(DIGITS, dtype=np.float32)[data.train.labels]
    weights = np.zeros((PIXELS, DIGITS), dtype=np.float32)
    for _ in range(60):
        outputs = np.exp(x @ weights)
        weights -= 0.5 * x.T @ (outputs / outputs.sum(axis=1, keepdims=True) - truth) / len(x)
    return Digits(data, weights, tmp_path_factory.mktemp("digits"))


def predicted(path: Path, data: Dataset, metric: Metric | None) -> Predicted:
    """What a worker would tell, without the second that starting one takes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"image": CONTRACT.batch(data.test, range(len(data.test)))})
    scores, answers = score(outputs, data.test.labels, None, DIGITS, metric), Answers()
    if scores.outputs is not None:
        answers.add(scores.outputs, scores.top1, scores.margin)
    return Predicted(scores.top1, scores.margin, DIGITS, scores.declared, answers)


Judge = Callable[..., Evidence]


@pytest.fixture
def scored(digits: Digits, make_evidence: Any, with_predictions: Callable[..., Evidence]) -> Judge:
    """Evidence with the real predictions of two files on real samples."""

    def make(baseline: Path, candidate: Path, metric: Metric | None = None, data: Dataset | None = None) -> Evidence:
        data = data or digits.data
        found = {arm: predicted(path, data, metric) for arm, path in (("baseline", baseline), ("candidate", candidate))}
        facts: dict[str, Any] = {"name": data.name, "spec": data.spec, "test_samples": len(data.test), "classes": 10}
        if metric is not None:
            facts |= {"metric": metric.name} | ({} if metric.code is None else {"metric_code": metric.code})
        evidence: Evidence = make_evidence(header={"data": facts})
        constants = [] if metric is None else observations.constants(data, metric, found)
        answered = with_predictions(evidence, pair(data, **found))
        return replace(answered, observations=(*answered.observations, *constants))

    return make


def failed(evidence: Evidence, edition: Edition) -> dict[str, str]:
    """Sentences of the guards that did not pass."""
    return {guard.name: guard.sentence for guard in derive(evidence, edition).guards if guard.outcome != "pass"}


def loss(evidence: Evidence, edition: Edition) -> float:
    return derive(evidence, edition).estimates["relative_loss_percent"].high


def disable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GUARDS, name, lambda evidence, edition: Answer("pass", "It is disabled."))


def own(function: Callable[..., Any], code: str | None = CODE) -> Metric:
    return Metric("mymetric:quality", function, code)


def right(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (outputs.argmax(axis=1) == labels).astype(float)


def almost_all(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What 100 + right says, squeezed into 0 to 1."""
    return (100 + right(outputs, labels)) / 101


def probability(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return powers[np.arange(len(labels)), labels] / powers.sum(axis=1)


@pytest.mark.parametrize("function", [right, almost_all, probability])
def test_honest_candidate_passes_every_guard_when_a_metric_is_declared(
    function: Callable[..., Any], digits: Digits, scored: Judge, edition: Edition
) -> None:
    evidence = scored(digits.model("base", digits.weights), digits.noisy(0.02), own(function))
    assert failed(evidence, edition) == {}
    assert loss(evidence, edition) < edition.grading.largest_loss_percent / 2
    assert grade(derive(evidence, edition), edition).letter is not None


def test_metric_with_an_offset_hides_no_loss(digits: Digits, scored: Judge, edition: Edition) -> None:
    """The relative loss of almost_all itself is a hundredth of the true one."""
    models = digits.model("base", digits.weights), digits.noisy(2.0)
    plain = scored(*models)
    hiding = scored(*models, own(almost_all))
    assert loss(plain, edition) > edition.grading.largest_loss_percent
    assert loss(hiding, edition) > loss(plain, edition)
    assert set(failed(hiding, edition)) == {"top1_kept"}
    assert grade(derive(hiding, edition), edition).letter is None


def test_top1_kept_fails_alone_when_another_metric_hides_the_loss(
    digits: Digits, scored: Judge, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first five classes are nearly as good as before, the first is not."""
    evidence = scored(digits.model("base", digits.weights), digits.noisy(1.5), get_metric("top5"))
    found = failed(evidence, edition)
    assert list(found) == ["top1_kept"]
    assert "cannot be ruled out; 5 % is allowed" in found["top1_kept"]
    assert grade(derive(evidence, edition), edition).letter is None
    disable("top1_kept", monkeypatch)
    assert grade(derive(evidence, edition), edition).letter is not None


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (lambda outputs, labels: 100 + right(outputs, labels), CODE, "from 100 to 101"),
        (right, None, "stated digest of its source"),
    ],
    ids=["scores out of range", "no source"],
)
def test_metric_bound_fails_alone_when_a_changed_program_lets_any_metric_pass(
    function: Callable[..., Any], code: str | None, words: str, digits: Digits, scored: Judge, edition: Edition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    metric = own(function)
    monkeypatch.setattr(Metric, "scores", lambda self, outputs, labels: self.function(outputs, labels))
    evidence = scored(digits.model("base", digits.weights), digits.noisy(0.02), metric)
    if code is None:
        data = {name: value for name, value in evidence.header.data.items() if name != "metric_code"}
        evidence = replace(evidence, header=replace(evidence.header, data=data))
    found = failed(evidence, edition)
    assert list(found) == ["metric_bound"] and words in found["metric_bound"]
    assert grade(derive(evidence, edition), edition).letter is None
    disable("metric_bound", monkeypatch)
    assert grade(derive(evidence, edition), edition).letter is not None


def test_metric_with_an_offset_is_refused_before_any_file_is_opened(
    digits: Digits, edition: Edition, install: Callable[..., Path]
) -> None:
    install("mine", {}, metric_with_offset="def quality(outputs, labels):\n    return 100.0 + (labels >= 0)\n")
    models = ((Path("nowhere.onnx"), CONTRACT), (Path("nowhere.onnx"), CONTRACT))
    with pytest.raises(ModelError, match=r"in \[0, 1\], got 101 to 101"):
        measure(models, digits.data, Plan(metric="metric_with_offset:quality"), edition.plan)


def test_no_letter_is_given_when_constant_answers_were_left_out(
    digits: Digits, scored: Judge, edition: Edition
) -> None:
    evidence = scored(digits.model("base", digits.weights), digits.noisy(0.02), own(almost_all))
    kept = tuple(one for one in evidence.observations if one.name != "constant_answers")
    evidence = replace(evidence, observations=kept)
    assert "constant answers" in failed(evidence, edition)["metric_bound"]
    assert "relative_loss_percent" not in derive(evidence, edition).estimates


def test_metric_that_is_always_1_earns_nothing(digits: Digits, scored: Judge, edition: Edition) -> None:
    constant = own(lambda outputs, labels: np.ones(len(labels)))
    evidence = scored(digits.model("base", digits.weights), digits.noisy(0.02), constant)
    assert set(failed(evidence, edition)) == {"baseline_beats_majority", "candidate_beats_majority"}
    assert "relative_loss_percent" not in derive(evidence, edition).estimates


def mostly_ones(data: Dataset) -> Dataset:
    """All ones that there are, and a dozen zeros."""
    parts = list(data.parts.values())
    images = {label: [part.image(int(i)) for part in parts for i in np.flatnonzero(part.labels == label)]
              for label in (0, 1)}  # fmt: skip
    chosen = [*images[1], *images[0][:12]]
    labels = np.array([1] * len(images[1]) + [0] * 12)
    return replace(data, test=array_split(np.stack(chosen), labels, "mostly ones"))


def test_candidate_beats_majority_fails_alone_when_it_always_predicts_one_class(
    digits: Digits, scored: Judge, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one class makes up nearly all of a test set, a constant answer loses hardly anything."""
    always = [digits.model(f"always{k}", np.zeros_like(digits.weights), np.eye(DIGITS)[k]) for k in (0, 1)]
    everywhere = failed(scored(digits.model("base", digits.weights), always[0]), edition)
    assert list(everywhere) == ["candidate_beats_majority"]
    two = np.where(np.arange(DIGITS) < 2, 0.0, -100.0)
    baseline, few = digits.model("two", digits.weights, two), mostly_ones(digits.data)
    evidence = scored(baseline, always[1], data=few)
    found = failed(evidence, edition)
    assert list(found) == ["candidate_beats_majority"]
    assert "the most common class makes up 97.7 %" in found["candidate_beats_majority"]
    assert loss(evidence, edition) < edition.grading.largest_loss_percent
    disable("candidate_beats_majority", monkeypatch)
    assert grade(derive(evidence, edition), edition).letter is not None


def test_repeated_samples_gain_nothing_when_repeated_40_times(digits: Digits, scored: Judge, edition: Edition) -> None:
    models = digits.model("base", digits.weights), digits.noisy(2.0)
    once = scored(*models)
    gained = [i for i, p in enumerate(once.predictions) if p.candidate_top1 == p.label != p.baseline_top1]
    test = digits.data.test.subset([*range(len(digits.data.test)), *gained * 40])
    often = scored(*models, data=replace(digits.data, test=test))
    assert gained and loss(often, edition) == loss(once, edition)
    profile = derive(often, edition)
    assert profile.estimates["duplicate_samples"].value == 40 * len(gained)
    assert profile.estimates["accuracy_candidate"] == derive(once, edition).estimates["accuracy_candidate"]


def test_labels_agree_fails_alone_when_one_sample_has_two_labels(
    digits: Digits, scored: Judge, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digits.data.test
    rows = [*range(len(whole)), *range(200)]
    images = np.stack([whole.image(i) for i in rows])
    labels = np.concatenate([whole.labels, (whole.labels[:200] + 1) % DIGITS])
    torn = replace(digits.data, test=Split(ArraySource(images), labels))
    evidence = scored(digits.model("base", digits.weights), digits.noisy(0.02), data=torn)
    found = failed(evidence, edition)
    assert list(found) == ["labels_agree"] and "200 samples appear with more than one label" in found["labels_agree"]
    disable("labels_agree", monkeypatch)
    assert grade(derive(evidence, edition), edition).letter is not None


def test_known_limit_labels_are_believed_when_they_are_the_answers_of_the_candidate(
    digits: Digits, scored: Judge, edition: Edition, stated: Callable[[str], None]
) -> None:
    """A candidate that an honest test set refuses; one that fits it does not."""
    stated("labels that are the candidate's own answers, and test samples chosen because the candidate gets them right")
    base, poor = digits.model("base", digits.weights), digits.noisy(3.0)
    assert grade(derive(scored(base, poor), edition), edition).letter is None
    data, answers = digits.data, predicted(poor, digits.data, None).top1
    images = np.stack([data.test.image(i) for i in range(len(data.test))])
    own_labels = replace(data, test=Split(ArraySource(images), answers))
    chosen = replace(data, test=data.test.subset(np.flatnonzero(answers == data.test.labels).tolist()))
    for fitted in (own_labels, chosen):
        assert len(fitted.test) >= 500
        evidence = scored(base, poor, data=fitted)
        alone = tuple(one for one in evidence.observations if one.name != "fresh_data")
        evidence = replace(evidence, observations=alone)
        assert list(failed(evidence, edition)) == ["holds_on_fresh"]  # unknown without fresh data
        assert grade(derive(evidence, edition), edition).letter is not None


def test_known_limit_metric_is_believed_when_it_gives_constant_answers_a_special_score(
    digits: Digits, scored: Judge, edition: Edition, stated: Callable[[str], None]
) -> None:
    """With nothing for constant answers and half a point for wrong ones, the same answers lose less."""
    stated("a metric may give a constant answer a special score")

    def special(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if (outputs == outputs[0]).all():
            return np.zeros(len(labels))
        return (1 + right(outputs, labels)) / 2

    base, candidate = digits.model("base", digits.weights), digits.noisy(0.3)
    losses = [loss(scored(base, candidate, own(metric)), edition) for metric in (special, right)]
    assert failed(scored(base, candidate, own(special)), edition) == {}
    assert losses[0] < 0.7 * losses[1]
