from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.measure.nodes import SHOWN, shares
from certify.measure.runtimes.base import NodeRun

SECONDS = st.lists(st.floats(0, 1e3), min_size=1, max_size=40)


def _nodes(seconds: list[float]) -> list[NodeRun]:
    return [NodeRun(f"n{number}", "Conv", "CPU", value, 3) for number, value in enumerate(seconds)]


@given(SECONDS.filter(lambda seconds: sum(seconds) > 1e-9))
def test_shares_make_up_the_whole(seconds: list[float]) -> None:
    found = shares(_nodes(seconds))
    assert sum(node["share"] for node in found["nodes"]) + found["rest"] == pytest.approx(1)
    assert found["count"] == len(seconds)


def test_the_dearest_stand_first_and_the_others_are_summed() -> None:
    found = shares(_nodes([float(value) for value in range(1, 13)]))
    assert [node["name"] for node in found["nodes"]] == [f"n{number}" for number in range(11, 1, -1)]
    assert len(found["nodes"]) == SHOWN
    assert found["rest"] == pytest.approx((1 + 2) / 78)
