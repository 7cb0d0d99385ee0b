from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import DataError
from certify.data import array_split, carve
from certify.data.dataset import Split
from certify.data.partition import apportion, complete, share


def numbered(values: list[int], labels: list[int]) -> Split:
    """Images of 1 x 2 pixels that are equal where their values are."""
    x = np.array([[[v // 256, v % 256]] for v in values], dtype=np.uint8)
    return array_split(x, labels, "here")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 3)), min_size=4, max_size=80), st.data())
def test_carve_returns_two_disjoint_parts_when_samples_repeat(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    split = numbered([v for v, _ in pairs], [k for _, k in pairs])
    count = data.draw(st.integers(1, len(split)))
    try:
        rest, taken = carve(split, count, "test", data.draw(st.integers(0, 5)))
    except DataError:
        return
    assert len(taken) <= count
    assert len(rest) + len(taken) == len(split)
    assert not set(rest.digests()) & set(taken.digests())
    assert sorted(rest.digests() + taken.digests()) == sorted(split.digests())


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(lambda s: sum(s) > 0), st.data())
def test_apportion_adds_up_and_stays_within_each_class_when_shared(sizes: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, sum(sizes)))
    places = apportion(np.array(sizes), count)
    assert sum(places) == count
    for size, place in zip(sizes, places, strict=True):
        assert 0 <= place <= size
        assert abs(place - size * count / sum(sizes)) < 1


def test_carve_takes_equally_from_every_class_when_classes_are_equal() -> None:
    split = numbered(list(range(200)), [i % 4 for i in range(200)])
    rest, taken = carve(split, 40, "validation", 0)
    assert np.bincount(taken.labels).tolist() == [10] * 4
    assert np.bincount(rest.labels).tolist() == [40] * 4


def test_carve_takes_the_same_samples_when_their_order_changes() -> None:
    split = numbered(list(range(60)), [i % 3 for i in range(60)])
    turned = split.subset(list(range(59, -1, -1)))
    assert set(carve(split, 20, "test", 0)[1].digests()) == set(carve(turned, 20, "test", 0)[1].digests())


def test_carve_takes_other_samples_when_seed_or_purpose_change() -> None:
    split = numbered(list(range(60)), [i % 3 for i in range(60)])
    taken = [frozenset(carve(split, 20, p, s)[1].digests()) for p, s in (("test", 0), ("test", 1), ("validation", 0))]
    assert len(set(taken)) == 3


def test_carve_is_refused_when_one_side_would_be_empty() -> None:
    same = numbered([7] * 10, [0, 1] * 5)
    with pytest.raises(DataError, match=r"5 of 10 samples \(1 distinct\) for test"):
        carve(same, 5, "test", 0)
    with pytest.raises(DataError, match="one side would be empty"):
        carve(numbered([1, 2], [0, 1]), 2, "test", 0)


def test_complete_carves_validation_and_calibration_when_there_is_a_train_part() -> None:
    train = numbered(list(range(1000)), [i % 2 for i in range(1000)])
    parts = complete({"train": train, "test": numbered([2000, 2001], [0, 1])}, seed=0)
    assert {name: len(split) for name, split in parts.items()} == {
        "train": 810,
        "validation": 100,
        "calibration": 90,
        "test": 2,
    }


def test_complete_limits_calibration_when_train_is_large() -> None:
    train = numbered(list(range(8000)), [i % 2 for i in range(8000)])
    parts = complete({"train": train, "test": train.subset([0])}, seed=0)
    assert len(parts["calibration"]) == 512


def test_complete_keeps_the_published_test_whole_when_train_repeats_it() -> None:
    train = numbered(list(range(100)), [i % 2 for i in range(100)])
    parts = complete({"train": train, "test": train.subset([3, 4, 5])}, seed=0, published=True)
    assert len(parts["test"]) == 3
    assert sum(len(parts[p]) for p in ("train", "validation", "calibration")) == 97
    assert not set(parts["train"].digests()) & set(parts["test"].digests())


def test_complete_changes_nothing_when_there_is_no_train_part() -> None:
    test = numbered([1, 2], [0, 1])
    assert complete({"test": test}, seed=0) == {"test": test}


@pytest.mark.parametrize(("n", "part", "expected"), [(1, 0.1, 1), (4, 0.1, 1), (100, 0.3, 30), (16, 0.1, 2)])
def test_share_is_rounded_and_at_least_one_when_small(n: int, part: float, expected: int) -> None:
    assert share(n, part) == expected
