from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from certify.measure.schedule import blocks

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_every_block_is_abba_or_baab(seed: int) -> None:
    for block in islice(blocks("ab", seed), 20):
        assert block in (("a", "b", "b", "a"), ("b", "a", "a", "b"))


@given(SEEDS)
def test_order_is_the_same_when_the_seed_is(seed: int) -> None:
    assert list(islice(blocks("ab", seed), 30)) == list(islice(blocks("ab", seed), 30))


def test_both_orders_occur_and_differ_between_seeds() -> None:
    first, second = (list(islice(blocks("ab", seed), 40)) for seed in (0, 1))
    assert len(set(first)) == 2
    assert first != second


@given(SEEDS)
def test_single_model_runs_twice_in_each_block_and_more_arms_mirror_their_order(seed: int) -> None:
    assert set(islice(blocks(["a"], seed), 5)) == {("a", "a")}
    assert set(islice(blocks("abc", seed), 20)) <= {tuple("abccba"), tuple("cbaabc")}
