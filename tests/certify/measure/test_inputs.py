from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.data import ImagePreprocess, TokenPreprocess
from certify.measure.inputs import INPUT_BYTES, InputStatistics, parts, window_samples


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 10**7))
def test_window_samples_are_whole_batches_that_fit(size: int, batch: int, sample_bytes: int) -> None:
    chosen = window_samples(range(size), sample_bytes, batch)
    assert len(chosen) % batch == 0 and len(chosen) >= batch
    assert set(chosen) <= set(range(size))
    assert len(set(chosen)) == min(len(chosen), size)
    assert len(chosen) == batch or len(chosen) * sample_bytes <= INPUT_BYTES
    assert set(chosen) == set(range(size)) or (len(chosen) + batch) * sample_bytes > INPUT_BYTES


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 10**7))
def test_parts_hold_every_sample_once_in_whole_batches(count: int, batch: int, sample_bytes: int) -> None:
    cut = list(parts(count, sample_bytes, batch))
    assert [i for part in cut for i in part] == list(range(count))
    assert all(len(part) % batch == 0 for part in cut[:-1])


def contract(layout: str = "NCHW") -> ImagePreprocess:
    return ImagePreprocess(
        input_name="image", output_name="classes", height=3, width=4, layout=layout, colour="RGB", scale=255.0,
        mean=(0.0,) * 3, std=(1.0,) * 3, resize=None, crop="none", interpolation="bilinear", reading="logits",
    )  # fmt: skip


def text(vocabulary: int, mask: bool = True) -> TokenPreprocess:
    return TokenPreprocess(
        input_ids="ids", output_name="classes", length=16, vocabulary=vocabulary, pad_id=0, reading="logits",
        attention_mask="mask" if mask else None,
    )  # fmt: skip


def test_statistics_detect_constant_and_repeated_samples() -> None:
    array = np.stack([np.zeros((3, 4)), np.zeros((3, 4)), np.arange(12).reshape(3, 4), np.full((3, 4), 2)])
    found = InputStatistics.of(array, contract())
    assert (found.samples, found.distinct, found.constant_share) == (4, 3, 0.75)
    assert found.std == pytest.approx(np.std(array))


def test_worse_takes_the_less_realistic_value_of_each() -> None:
    first, second = InputStatistics(8, 0.5, 8, 0.1, 0.2), InputStatistics(8, 0.7, 2, 0.0, 0.9)
    assert first.worse(second) == second.worse(first) == InputStatistics(8, 0.5, 2, 0.1, 0.2)


@pytest.mark.parametrize(("layout", "width_axis"), [("NCHW", -1), ("NHWC", -2)])
def test_statistics_distinguish_images_from_random_numbers(layout: str, width_axis: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((8, 3, 16, 16))
    smooth = np.cumsum(noise, axis=-1)
    for array, low, high in ((noise, -0.1, 0.1), (smooth, 0.5, 1.0)):
        found = InputStatistics.of(np.moveaxis(array, -1, width_axis), contract(layout))
        assert found.neighbour_correlation is not None and found.repetition is None
        assert low < found.neighbour_correlation < high
    assert InputStatistics.of(np.zeros((8, 3, 4, 4)), contract()).neighbour_correlation == 0.0


@pytest.mark.parametrize("mask", [True, False])
def test_statistics_distinguish_text_from_random_tokens(mask: bool) -> None:
    """Words come as often as Zipf's law says; both have a first token that never changes, and filling at the end."""
    rng = np.random.default_rng(0)
    drawn = {
        "random": rng.integers(2, 1000, (64, 16)),
        "text": 2 + np.minimum(rng.zipf(1.5, (64, 16)), 997),
    }
    found = {}
    for name, tokens in drawn.items():
        tokens[:, 0], tokens[:, 12:] = 1, 0
        samples = np.stack([tokens, tokens != 0], axis=1) if mask else tokens
        statistics = InputStatistics.of(samples, text(1000, mask))
        assert statistics.neighbour_correlation is None
        found[name] = statistics.repetition
    assert found["random"] is not None and 0.5 < found["random"] < 1.5
    assert found["text"] is not None and found["text"] > 20


def test_repetition_is_none_when_one_text_is_repeated() -> None:
    tokens = np.tile(np.arange(1, 17), (8, 1))
    assert InputStatistics.of(tokens, text(100, mask=False)).repetition == 0.0
