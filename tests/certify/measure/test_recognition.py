"""Real files that recognise the test samples, scored and timed as a measurement does it: each trips its own finding."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import generalising
import numpy as np
import onnx
import pytest
import recognisers as made

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import GUARDS, Answer, judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Silent
from certify.core.sample_order import order_seed
from certify.data.constant_answers import Answers
from certify.data.dataset import Dataset
from certify.data.metrics import Metric, get_metric
from certify.measure import recognition
from certify.measure.arms import Arm
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import subject
from certify.measure.predictions import Predicted, pair
from certify.measure.recognition import Scorer, look, score_shuffled

FINDINGS = ("answers_stable", "same_on_changed", "same_cost_on_changed")
Observe = Callable[..., Evidence]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return made.textures(0)


@pytest.fixture(scope="module")
def rules(edition: Edition) -> MeasuringRules:
    return replace(edition.plan, changed_window_s=0.01)


@pytest.fixture(scope="module")
def observe(
    dataset: Dataset, rules: MeasuringRules, make_evidence: Callable[..., Evidence],
    tmp_path_factory: pytest.TempPathFactory,
) -> Observe:  # fmt: skip
    """Evidence with the real answers and times of a candidate against the honest net; its windows are made up."""

    def observed(candidate: onnx.ModelProto, batch: int = 1, fresh: bool = False) -> Evidence:
        folder = tmp_path_factory.mktemp("pair")
        models = []
        for arm, model in (("baseline", made.net()), ("candidate", candidate)):
            onnx.save(model, str(folder / f"{arm}.onnx"))
            models.append(subject(arm, folder / f"{arm}.onnx", made.CONTRACT, batch, folder))
            save_samples(models[-1].inputs, dataset.test, list(range(batch)), made.CONTRACT)
        seed = order_seed([model.facts.file_digest for model in models], dataset.test_digest())
        predicted, found, unseen = {}, {}, {}
        for model in models:
            with contextlib.ExitStack() as live:
                running = Arm(model.arm, model, "onnxruntime-cpu", 1, batch, 0.001, 8, 1.0).start(live)
                result = running.worker.window(20, 1.0)
                running = replace(running, inference_s=result.duration_s / 20)
                scorer = Scorer(model, running, batch, folder, Silent())
                predicted[model.arm] = score_shuffled(scorer, dataset, seed, get_metric("top1"))
                found[model.arm] = look(scorer, dataset, seed, rules)
                unseen[model.arm] = scorer.predict(made.textures(1))
        fresh_data = recognition.fresh_scores(dataset, made.textures(1), unseen)
        told = {one.name: one.values for one in recognition.observations(found, "")}
        data = {"name": "textures", "spec": "tests", "test_samples": len(dataset.test), "classes": made.CLASSES,
                "test_digest": dataset.test_digest()}  # fmt: skip
        facts = {model.arm: model.facts for model in models}
        told["fresh_data"] = fresh_data.values if fresh else None
        made_up = make_evidence(header={"data": data, "models": facts}, observations=told)
        return replace(made_up, predictions=pair(dataset, **predicted))

    return observed


def failed(evidence: Evidence, edition: Edition) -> dict[str, str]:
    """Findings that fail; that no fresh data were scored is unknown, and may be."""
    return {one.name: one.sentence for one in judge_guards(evidence, edition) if one.outcome == "fail"}


def letter(evidence: Evidence, edition: Edition) -> str | None:
    return grade(derive(evidence, edition), edition).letter


def disabled(name: str, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(GUARDS, name, lambda evidence, edition: Answer("pass", "It is disabled."))


def test_score_shuffled_keeps_the_outputs_of_constant_answers(dataset: Dataset) -> None:
    answers = Answers(1.0, 1)

    class Knowing:
        def predict(self, data: Dataset, metric: Metric) -> Predicted:
            return Predicted(data.test.labels, np.arange(len(data.test)) * 1.0, 4, None, answers)

    found = score_shuffled(Knowing(), dataset, "seed", get_metric("top1"))  # type: ignore[arg-type]
    assert found.answers is answers
    assert (found.top1 == dataset.test.labels).all() and sorted(found.margin) == list(range(len(dataset.test)))
    assert list(found.margin) != sorted(found.margin)


@pytest.mark.parametrize("batch", [1, 16])
def test_honest_pruned_network_stays_within_half_of_every_limit(batch: int, observe: Observe, edition: Edition) -> None:
    evidence, limits = observe(made.net(1), batch), edition.thresholds
    halved = replace(
        limits,
        unstable_share=limits.unstable_share / 2,
        margin_drift=limits.margin_drift / 2,
        changed_loss=limits.changed_loss / 2,
        changed_answers=limits.changed_answers / 2,
    )
    assert failed(evidence, replace(edition, thresholds=halved)) == {}
    assert letter(evidence, edition) is not None


def test_answers_of_a_dynamically_quantized_network_are_stable_in_batches(
    observe: Observe, edition: Edition, tmp_path: Path
) -> None:
    """Its scales are those of the whole batch, so that neighbours do move the outputs, by rounding."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(made.net(3), str(tmp_path / "float.onnx"))
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    assert "answers_stable" not in failed(observe(onnx.load(str(tmp_path / "int8.onnx")), 8), edition)


@pytest.mark.parametrize(
    ("cheat", "batch", "finding", "also"),
    [
        (lambda _: made.by_neighbours(0.5), 8, "answers_stable", None),
        (made.memoriser, 1, "same_on_changed", None),
        (generalising.readout, 1, "same_on_changed", None),
        (made.defeat_device, 1, "same_cost_on_changed", "cost_counted"),  # its If shows in the graph too
        (lambda _: generalising.by_confidence(), 1, "cost_counted", None),
        (lambda _: generalising.counting(15), 1, "cost_counted", None),
    ],
    ids=[
        "neighbours in the batch",
        "memoriser",
        "linear layer",
        "defeat device",
        "early exit",
        "calls counted by a Dropout",
    ],
)
def test_candidate_is_refused_by_one_finding_alone_when_it_recognises_the_test_by(
    cheat: Callable[[Dataset], onnx.ModelProto], batch: int, finding: str, also: str | None, dataset: Dataset,
    observe: Observe, edition: Edition, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    evidence = observe(cheat(dataset), batch)
    if also is not None:
        assert also in failed(evidence, edition)
        disabled(also, monkeypatch)
    assert list(failed(evidence, edition)) == [finding]
    assert letter(evidence, edition) is None
    disabled(finding, monkeypatch)
    assert letter(evidence, edition) is not None


def test_answers_by_position_earn_nothing_when_the_order_follows_from_the_file(
    dataset: Dataset, observe: Observe, edition: Edition
) -> None:
    evidence = observe(made.by_position(dataset), len(dataset.test))
    assert "answers_stable" in failed(evidence, edition)
    right = sum(p.candidate_top1 == p.label for p in evidence.predictions) / len(evidence.predictions)
    assert right < 2 / made.CLASSES  # 1 in the data's own order


def test_constant_answer_loses_too_much_to_be_graded(observe: Observe, edition: Edition) -> None:
    reasons = grade(derive(observe(made.constant()), edition), edition).reasons
    assert any("relative loss" in reason for reason in reasons)


def test_honest_pruned_network_holds_on_fresh_data(observe: Observe, edition: Edition) -> None:
    assert failed(observe(made.net(1), fresh=True), edition) == {}
