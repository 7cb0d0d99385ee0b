"""Where workers go on a cluster; a real one is tried where Ray is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import pytest

from certify.core.errors import MissingExtra, UsageError
from certify.measure.plan import Plan
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


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_trials_run_on_a_cluster_of_one_machine(tmp_path):
    import compress

    pixels, plan = {"mean": [0.5] * 3, "std": [0.5] * 3}, Plan(window_s=0.05, min_blocks=2, threads=1)
    found = compress.search_recipe(
        "compress.testing.networks:Residual", "mnist5k", max_loss=99.0, objective="latency", trials=1, max_epochs=0,
        workers="local", out=tmp_path, preprocess=pixels, plan=plan, then="nothing", progress=False,
    )  # fmt: skip
    assert [trial.cost is not None for trial in found.trials] == [True]
