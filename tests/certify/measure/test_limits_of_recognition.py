"""Candidates that know the test samples, and baselines that are fed badly, in ways that nothing finds (SECURITY.md).

They are scored and timed within the process of the test; test_recognition.py does the same in workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import generalising
import numpy as np
import onnx
import onnxruntime
import pytest
import recognisers as made
from simplified_here import session
from test_recognition import disabled, failed, letter

from certify.assessments.efficiency.edition import Edition
from certify.core.evidence import Evidence
from certify.core.progress import Silent
from certify.core.sample_order import order_seed
from certify.data.metrics import get_metric
from certify.measure import recognition
from certify.measure.model_under_test import subject
from certify.measure.predictions import pair
from certify.measure.recognition import Scorer, look, score_shuffled

TEST, FRESH = made.textures(0), made.textures(1)


class Here:
    """What a worker does, without a process of its own."""

    def __init__(self, path: Path) -> None:
        self._session: onnxruntime.InferenceSession = session(path)
        self._fed: list[np.ndarray] = []

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {"image": batch})[0])

    def predict(self, samples: Path, outputs: Path, batch: int, expected_s: float) -> None:
        array = np.load(samples)
        np.save(outputs, np.concatenate([self._run(array[i : i + batch]) for i in range(0, len(array), batch)]))

    def inputs(self, path: Path, batch: int, first: int, count: int) -> None:
        array = np.load(path)
        self._fed = [array[(first + i) % len(array)][None] for i in range(count)]

    def window(self, inferences: int, expected_s: float) -> SimpleNamespace:
        begun, cpu = time.perf_counter(), time.process_time()
        for i in range(inferences):
            self._run(self._fed[i % len(self._fed)])
        return SimpleNamespace(duration_s=time.perf_counter() - begun, cpu_s=time.process_time() - cpu)


def observed(
    candidate: onnx.ModelProto, folder: Path, edition: Edition, make_evidence: Callable[..., Evidence],
    baseline: onnx.ModelProto | None = None,
) -> Evidence:  # fmt: skip
    """Evidence with real answers and times of a candidate against the honest net; its windows are made up."""
    models, live = [], []
    for arm, model in (("baseline", baseline or made.net()), ("candidate", candidate)):
        onnx.save(model, str(folder / f"{arm}.onnx"))
        models.append(subject(arm, folder / f"{arm}.onnx", made.CONTRACT, 1, folder))
        live.append(SimpleNamespace(worker=Here(models[-1].path), inference_s=1e-4))
    seed = order_seed([model.facts.file_digest for model in models], TEST.test_digest())
    rules = replace(edition.plan, changed_window_s=0.003)
    predicted, found, unseen = {}, {}, {}
    for model, running in zip(models, live, strict=True):
        scorer = Scorer(model, running, 1, folder, Silent())  # type: ignore[arg-type]
        predicted[model.arm] = score_shuffled(scorer, TEST, seed, get_metric("top1"))
        found[model.arm] = look(scorer, TEST, seed, rules)
        unseen[model.arm] = scorer.predict(FRESH)
    told = {one.name: one.values for one in recognition.observations(found, "")}
    told["fresh_data"] = recognition.fresh_scores(TEST, FRESH, unseen).values
    data = {"name": "textures", "spec": "tests", "test_samples": len(TEST.test), "classes": made.CLASSES,
            "test_digest": TEST.test_digest()}  # fmt: skip
    facts = {model.arm: model.facts for model in models}
    evidence = make_evidence(header={"data": data, "models": facts}, observations=told)
    return replace(evidence, predictions=pair(TEST, **predicted))


@pytest.mark.parametrize("limit", generalising.UNSEEN)
def test_known_limit_candidate_is_graded_unless_fresh_data_are_scored(
    limit: str, tmp_path: Path, make_evidence: Callable[..., Evidence], edition: Edition,
    stated: Callable[[str], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It keeps its answers on every small change."""
    stated(limit)
    evidence = observed(generalising.UNSEEN[limit](TEST), tmp_path, edition, make_evidence)
    assert list(failed(evidence, edition)) == ["holds_on_fresh"] and letter(evidence, edition) is None
    assert np.mean([p.candidate_top1 == p.label for p in evidence.predictions]) > 0.99
    disabled("holds_on_fresh", monkeypatch)
    assert failed(evidence, edition) == {} and letter(evidence, edition) is not None


def poor() -> onnx.ModelProto:
    """A network with fewer filters, which are not quite the right ones."""
    model, kernels = made.net(1), made.filters(1)
    kernels += (np.random.default_rng(42).standard_normal(kernels.shape) * 0.5 * kernels.std()).astype(np.float32)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(kernels, "w"))
    return model


def normalised_badly() -> onnx.ModelProto:
    """The honest net behind a normalisation that leaves hardly any contrast."""
    graph = made.Graph()
    limits = [graph.put(name, np.float32(value)) for name, value in (("lowest", -0.3), ("highest", 0.3))]
    graph.node("Clip", ["image", *limits], "normalised")
    made.add_net(graph, 4, "normalised")
    return graph.model()


def test_known_limit_baseline_is_believed_when_its_graph_normalises_badly(
    tmp_path: Path, make_evidence: Callable[..., Evidence], edition: Edition, stated: Callable[[str], None]
) -> None:
    """Both have the same contract. A candidate that is refused beside the honest net passes beside this one."""
    stated("a contract that is wrong for both models alike; normalisation inside the baseline's graph")
    assert letter(observed(poor(), tmp_path, edition, make_evidence), edition) is None
    evidence = observed(poor(), tmp_path, edition, make_evidence, normalised_badly())
    assert failed(evidence, edition) == {} and letter(evidence, edition) is not None
