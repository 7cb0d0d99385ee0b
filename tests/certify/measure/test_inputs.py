from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.measure.inputs import ARRAY_BYTES, WINDOW_BATCHES, InputStatistics, parts, window_samples


class _Sized:
    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 10**7))
def test_window_samples_are_whole_batches_that_fit(size: int, batch: int, sample_bytes: int) -> None:
    chosen = window_samples(_Sized(size), sample_bytes, batch, seed=1)  # type: ignore[arg-type]
    assert len(chosen) % batch == 0 and 1 <= len(chosen) // batch <= WINDOW_BATCHES
    assert set(chosen) <= set(range(size))
    assert len(set(chosen)) == min(len(chosen), size)
    assert len(chosen) == batch or len(chosen) * sample_bytes <= ARRAY_BYTES


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 10**7))
def test_parts_hold_every_sample_once_in_whole_batches(count: int, batch: int, sample_bytes: int) -> None:
    cut = list(parts(count, sample_bytes, batch))
    assert [i for part in cut for i in part] == list(range(count))
    assert all(len(part) % batch == 0 for part in cut[:-1])


def test_statistics_tell_constant_and_repeated_samples() -> None:
    array = np.stack([np.zeros((3, 4)), np.zeros((3, 4)), np.arange(12).reshape(3, 4), np.full((3, 4), 2)])
    found = InputStatistics.of(array)
    assert (found.samples, found.distinct, found.constant_share) == (4, 3, 0.75)
    assert found.std == pytest.approx(np.std(array))


def test_worse_takes_the_less_real_of_each() -> None:
    first, second = InputStatistics(8, 0.5, 8, 0.1, 0.2), InputStatistics(8, 0.7, 2, 0.0, 0.9)
    assert first.worse(second) == second.worse(first) == InputStatistics(8, 0.5, 2, 0.1, 0.2)


@pytest.mark.parametrize("width_axis", [-1, -2])
def test_statistics_tell_pictures_from_random_numbers(width_axis: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 3, 16, 16))
    smooth = np.cumsum(noise, axis=-1)
    for array, low, high in ((noise, -0.1, 0.1), (smooth, 0.5, 1.0)):
        laid = np.moveaxis(array, -1, width_axis)
        assert low < InputStatistics.of(laid, width_axis).neighbour_correlation < high
    assert InputStatistics.of(np.zeros((8, 3, 4, 4))).neighbour_correlation == 0.0
