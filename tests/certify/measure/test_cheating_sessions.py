"""Real sessions, inputs and data that cheat: each trips the one guard that is there for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from certify.core.evidence import Workload
from certify.core.observations import SessionFacts
from certify.data.arrays import ArraySource
from certify.data.dataset import Dataset, Split
from certify.measure import observe, runtimes
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
    return dict(observe.sessions(facts, {}, RUNTIME).values)


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
        facts[arm], costs[arm] = SessionFacts.read(session.facts()), {"places": observe.places(session.nodes())}
    told = dict(observe.sessions(facts, costs, "elsewhere").values)
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
PICTURES = np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None] // 2 + RANDOM // 4


@pytest.mark.parametrize(
    ("pixels", "tripped"),
    [
        (PICTURES, {}),
        (np.zeros_like(RANDOM), {"inputs_real": "fail"}),
        (RANDOM, {"inputs_real": "fail"}),
        (np.repeat(PICTURES[:1], 64, axis=0), {"inputs_real": "fail"}),
    ],
    ids=["pictures", "zeros", "random numbers", "one picture again and again"],
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
    told = {observation.name: observation.values for observation in observe.data(honest)}
    assert court.outcomes(told) == {}
    seen = replace(honest, **{part: honest.test.subset([0, 1, 2])})
    told = {observation.name: observation.values for observation in observe.data(seen)}
    assert court.outcomes(told) == {"test_unseen": "fail"}
