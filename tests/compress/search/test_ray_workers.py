"""Where workers go on a cluster; a real one is tried where Ray is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from types import SimpleNamespace

import pytest

from certify.core.errors import MeasureError, MissingExtra, UsageError
from certify.core.estimate import Estimate
from certify.measure.plan import Plan
from compress.search import ray_workers
from compress.search.optional import ray
from compress.search.ray_workers import METER, is_address, placed


def node(name: str, **resources: float) -> dict:
    return {"NodeID": name, "Alive": True, "Resources": {"CPU": 8.0, **resources}}


POSTGRES = "postgresql://host/name"


def test_workers_run_on_the_nodes_that_do_not_measure(question):
    shared = dataclasses.replace(question, storage=POSTGRES)
    nodes = [node("a"), node("b", **{METER: 1.0}), node("c")]
    assert placed(nodes, shared) == ["a", "c"]


def test_workers_run_on_the_measuring_node_when_there_is_no_other(question):
    assert placed([node("a", **{METER: 1.0})], question) == ["a"]


def test_cluster_is_refused_when_no_node_measures(question):
    with pytest.raises(UsageError, match="leanmark_meter"):
        placed([node("a")], question)
    assert placed([node("a")], dataclasses.replace(question, objective="bytes")) == ["a"]


def test_cluster_is_refused_when_its_nodes_would_share_a_file(question):
    with pytest.raises(UsageError, match="The cluster has 2 nodes"):
        placed([node("a", **{METER: 1.0}), node("b")], question)


def test_address_is_distinguished_from_a_number():
    assert [is_address(each) for each in ("ray://h:1", "auto", "local", "4", "http://h")] == [True] * 3 + [False] * 2


def test_extra_is_named_when_ray_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="requires the extra 'ray'"):
        ray()


class Lost(Exception):
    """Stands for the errors of Ray."""


def cluster(nodes: list[dict], answers: list) -> SimpleNamespace:
    """Return a Ray without machines: a task ends once its answer is there."""
    task = SimpleNamespace(remote=lambda *_: "task")
    return SimpleNamespace(
        remote=lambda _: SimpleNamespace(options=lambda **_: task),
        wait=lambda tasks, timeout: (tasks, []) if answers else ([], tasks),
        get=lambda _: answers.pop().to_json(),
        nodes=lambda: nodes,
        cancel=lambda _: None,
        exceptions=SimpleNamespace(RayError=Lost),
    )


@pytest.fixture
def made() -> SimpleNamespace:
    return SimpleNamespace(contents=lambda: ({}, {}))


def test_measurement_ends_when_no_node_can_measure_any_more(question, made, monkeypatch):
    gone = {**node("b", **{METER: 1.0}), "Alive": False}
    monkeypatch.setattr(ray_workers, "ray", lambda: cluster([node("a"), gone], []))
    with pytest.raises(MeasureError, match="No node of the cluster can measure"):
        ray_workers._measured_away(question, "/", made)


def test_measurement_is_that_of_the_other_machine(question, made, monkeypatch):
    cost = Estimate(0.5, 0.4, 0.6, "1", 8, "as measured")
    monkeypatch.setattr(ray_workers, "ray", lambda: cluster([], [cost]))
    assert ray_workers._measured_away(question, "/", made) == cost


def test_worker_is_refused_in_one_sentence_when_its_node_lacks_the_folder(question, tmp_path):
    with pytest.raises(UsageError, match="has no folder .*nowhere; start the search in a folder that all nodes share"):
        ray_workers.work(question, 0.0, str(tmp_path / "nowhere"))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_trials_run_on_a_cluster_of_one_machine(tmp_path):
    import compress

    pixels, plan = {"mean": [0.5] * 3, "std": [0.5] * 3}, Plan(window_s=0.05, min_blocks=2, threads=1)
    found = compress.search_recipe(
        "compress.testing.networks:Residual", "mnist5k", max_loss=99.0, objective="latency", trials=1, max_epochs=0,
        workers="local", out=tmp_path, preprocess=pixels, plan=plan, then="nothing", progress=False,
    )  # fmt: skip
    assert [trial.cost is not None for trial in found.trials] == [True]
