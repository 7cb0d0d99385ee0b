"""Batch sizes that Poisson sampling gives, and those that it cannot give."""

from __future__ import annotations

import numpy as np
import pytest

from certify.core.accounting import poisson_sizes
from certify.core.errors import UsageError

N, RATE, STEPS = 3000, 1 / 12, 480


def test_honest_sizes_are_possible_in_two_thousand_trainings() -> None:
    random = np.random.default_rng(7)
    for records, rate, steps in ((N, RATE, STEPS), (200, 0.02, 60), (100_000, 0.005, 20), (50, 0.5, 5)):
        least = min(poisson_sizes(random.binomial(records, rate, steps), records, rate).p for _ in range(500))
        assert least > 1e-5, (records, rate, steps)


SHUFFLED = [256] * 11 + [184]

FAKES = {
    "shuffled batches": ([*SHUFFLED] * 40, N, RATE),
    "fixed batches": ([250] * STEPS, N, RATE),
    "twenty fixed batches": ([250] * 20, N, RATE),
    "N overstated": (np.random.default_rng(1).binomial(2000, 1 / 12, STEPS).tolist(), N, RATE),
    "q understated": (np.random.default_rng(2).binomial(N, 1 / 10, STEPS).tolist(), N, RATE),
    "sizes spread too far": (np.random.default_rng(3).normal(250, 60, STEPS).astype(int).tolist(), N, RATE),
    "not the whole set at q = 1": ([N] * 9 + [N - 1], N, 1.0),
}


@pytest.mark.parametrize("what", FAKES)
def test_sizes_are_impossible_when_the_sampler_differs(what: str) -> None:
    sizes, records, rate = FAKES[what]
    found = poisson_sizes(sizes, records, rate)
    assert not found.possible and found.p < 1e-6


def test_whole_set_is_possible_when_the_rate_is_one() -> None:
    assert poisson_sizes([N] * 5, N, 1.0).possible


@pytest.mark.parametrize("sizes", [[], [-1], [N + 1]])
def test_sizes_are_refused_when_they_are_not_valid(sizes: list[int]) -> None:
    with pytest.raises(UsageError, match=r"must be in \[0, 3000\]"):
        poisson_sizes(sizes, N, RATE)
    with pytest.raises(UsageError, match="sampling rate"):
        poisson_sizes([1], N, 1.5)
