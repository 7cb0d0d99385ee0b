"""Cutting a train part into clients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import UsageError
from compress.federated.partition import by_column, dirichlet, iid, names_of
from compress.federated.sampling import chosen, seed_of
from compress.testing.networks import blobs


@given(count=st.integers(4, 300), clients=st.integers(1, 40), seed=st.integers(0, 99), alpha=st.floats(0.05, 50))
@settings(max_examples=60, deadline=None)
def test_each_sample_is_of_one_client_and_each_has_two(count: int, clients: int, seed: int, alpha: float) -> None:
    clients = min(clients, count // 2)
    labels = np.arange(count) % 5
    for parts in (iid(count, clients, seed), dirichlet(labels, clients, alpha, seed)):
        assert sorted(np.concatenate(parts)) == list(range(count))
        assert len(parts) == clients and min(map(len, parts)) >= 2


def test_small_alpha_skews_the_classes_and_a_large_one_does_not() -> None:
    labels = np.arange(2000) % 10

    def largest(alpha: float) -> float:
        parts = dirichlet(labels, 10, alpha, 0)
        return float(np.mean([np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]))

    assert largest(0.1) > 0.4 > 0.2 > largest(1000)


def test_cut_is_the_same_under_one_seed_and_another_under_another() -> None:
    labels = np.arange(100) % 4
    first, again, other = (dirichlet(labels, 5, 0.5, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True))


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="9 train samples are too few for 5 clients of 2"):
        iid(9, 5, 0)


def test_column_names_the_clients() -> None:
    split = blobs().train
    assert split is not None
    places = np.array(["north", "south"])[np.arange(len(split)) % 2]
    names, rows = by_column(split.grouped({"hospital": places}), "hospital")
    assert names == ["north", "south"] and [len(part) for part in rows] == [64, 64]
    with pytest.raises(UsageError, match="no column 'ward'.*hospital"):
        by_column(split.grouped({"hospital": places}), "ward")
    places[3] = ""
    with pytest.raises(UsageError, match="1 train samples have no 'hospital'"):
        by_column(split.grouped({"hospital": places}), "hospital")
    places[3] = "alone"
    with pytest.raises(UsageError, match="'alone' has fewer than 2"):
        by_column(split.grouped({"hospital": places}), "hospital")


def test_clients_of_a_round_follow_from_seed_and_round_alone() -> None:
    names = names_of(50)
    assert names == sorted(names)
    assert chosen(names, 5, 0, 1) == chosen(list(reversed(names)), 5, 0, 1) != chosen(names, 5, 0, 2)
    assert len({seed_of(0, name, number) for name in names for number in range(10)}) == 500
