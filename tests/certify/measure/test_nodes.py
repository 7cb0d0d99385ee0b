from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.measure import nodes
from certify.measure.nodes import SHOWN, node_costs, shares
from certify.measure.runtimes.base import NodeRun

SECONDS = st.lists(st.floats(0, 1e3), min_size=1, max_size=40)


def _nodes(seconds: list[float]) -> list[NodeRun]:
    return [NodeRun(f"n{number}", "Conv", "CPU", value, 3) for number, value in enumerate(seconds)]


@given(SECONDS.filter(lambda seconds: sum(seconds) > 1e-9))
def test_shares_sum_to_one(seconds: list[float]) -> None:
    found = shares(_nodes(seconds))
    assert found.rest is not None
    assert sum(node["share"] for node in found.nodes) + found.rest == pytest.approx(1)
    assert found.count == len(seconds)


def test_most_expensive_nodes_come_first_and_the_others_are_summed() -> None:
    found = shares(_nodes([float(value) for value in range(1, 13)]))
    assert [node["name"] for node in found.nodes] == [f"n{number}" for number in range(11, 1, -1)]
    assert len(found.nodes) == SHOWN
    assert found.rest == pytest.approx((1 + 2) / 78)


def test_no_worker_is_started_when_the_runtime_times_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(nodes, "open_worker", opened)
    arm: Any = SimpleNamespace(runtime="torch-cuda", inference_s=0.1, model=None, threads=1, batch=1, name="baseline")
    assert node_costs(None, arm) is None  # type: ignore[arg-type]
    arm.runtime = "onnxruntime-cpu"
    with pytest.raises(AssertionError, match="a worker was started"):
        node_costs(None, arm)  # type: ignore[arg-type]
