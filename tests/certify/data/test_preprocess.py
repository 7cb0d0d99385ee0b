from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import DataError, UsageError
from certify.data import Dataset, ImagePreprocess, Preprocess, array_split, default_preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def contract(**changes: Any) -> ImagePreprocess:
    fields = {
        "input_name": "input",
        "output_name": "output",
        "height": 6,
        "width": 8,
        "layout": "NCHW",
        "colour": "RGB",
        "scale": 255.0,
        "mean": MEAN,
        "std": STD,
        "resize": None,
        "crop": "none",
        "interpolation": "bilinear",
        "reading": "logits",
        **changes,
    }
    return ImagePreprocess(**fields)


def make_image(height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def dataset(height: int, width: int, n: int = 8) -> Dataset:
    x = np.random.default_rng(1).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    split = array_split(x, np.arange(n) % 2, "here")
    size = (224, 224) if max(height, width) > 96 else (height, width)
    return Dataset("toy", "toy", ("a", "b"), None, None, None, split, size)


def test_apply_follows_the_formula_when_nothing_is_resized() -> None:
    image = make_image()
    ready = contract().apply(image)
    expected = (image.astype(np.float64) / 255 - MEAN) / STD
    assert (ready.shape, ready.dtype) == ((3, 6, 8), np.float32)
    assert np.abs(ready - expected.transpose(2, 0, 1)).max() < 1e-6


def test_apply_only_moves_axes_when_the_layout_is_nhwc() -> None:
    image = make_image()
    assert np.array_equal(contract(layout="NHWC").apply(image), contract().apply(image).transpose(1, 2, 0))


def test_apply_reverses_the_channels_when_the_colour_is_bgr() -> None:
    image = make_image()
    turned = contract(colour="BGR", mean=MEAN[::-1], std=STD[::-1]).apply(image)
    assert np.array_equal(turned, contract().apply(image)[::-1])


def test_apply_returns_luma_when_the_colour_is_grey() -> None:
    image = make_image()
    ready = contract(colour="L", scale=1, mean=(0,), std=(1,)).apply(image)
    assert ready.shape == (1, 6, 8)
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(ready[0] - luma).max() <= 1
    grey = np.repeat(image[..., :1], 3, axis=2)
    assert np.array_equal(contract(colour="L", scale=1, mean=(0,), std=(1,)).apply(grey)[0], grey[..., 0])


def test_apply_returns_raw_pixels_when_the_model_takes_bytes() -> None:
    image = make_image()
    raw = contract(dtype="uint8", scale=1, mean=(0, 0, 0), std=(1, 1, 1), layout="NHWC").apply(image)
    assert raw.dtype == np.uint8
    assert np.array_equal(raw, image)
    shifted = contract(dtype="int8", scale=1, mean=(128,) * 3, std=(1, 1, 1), layout="NHWC").apply(image)
    assert np.array_equal(shifted.astype(int), image.astype(int) - 128)


def test_apply_uses_the_models_own_range_when_it_is_not_imagenets() -> None:
    image = make_image()
    ready = contract(scale=1, mean=(127,) * 3, std=(128,) * 3).apply(image)
    assert np.allclose(ready, ((image.astype(np.float32) - 127) / 128).transpose(2, 0, 1), atol=1e-7)


@pytest.mark.parametrize("filter_name", ["nearest", "bilinear", "bicubic"])
def test_apply_resizes_with_pillows_filter_when_exact(filter_name: str) -> None:
    image = make_image(20, 15)
    ready = contract(resize="exact", interpolation=filter_name, scale=1, mean=(0,) * 3, std=(1,) * 3).apply(image)
    resized = PIL.Image.fromarray(image).resize((8, 6), getattr(PIL.Image.Resampling, filter_name.upper()))
    assert np.array_equal(ready.transpose(1, 2, 0), np.asarray(resized, dtype=np.float32))


@pytest.mark.parametrize(("height", "width"), [(40, 30), (41, 30), (30, 41), (33, 33), (31, 64), (54, 32)])
def test_apply_keeps_the_shape_and_crops_the_middle_when_the_shorter_side_is_given(height: int, width: int) -> None:
    image = make_image(height, width)
    ready = contract(height=12, width=12, resize=16, crop="center", scale=1, mean=(0,) * 3, std=(1,) * 3).apply(image)
    size = (16, int(16 * height / width)) if width <= height else (int(16 * width / height), 16)
    resized = np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BILINEAR), dtype=np.float32)
    top, left = round((size[1] - 12) / 2), round((size[0] - 12) / 2)
    assert np.array_equal(ready.transpose(1, 2, 0), resized[top : top + 12, left : left + 12])


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
@settings(max_examples=12, deadline=None)
@given(st.integers(180, 420), st.integers(180, 420), st.sampled_from(["bilinear", "bicubic"]))
def test_apply_equals_torchvisions_evaluation_transforms_when_images_are_large(
    height: int, width: int, filter_name: str
) -> None:
    import torch
    from torchvision.transforms import v2 as transforms

    image = make_image(height, width, seed=height)
    ours = dataclasses.replace(default_preprocess(dataset(120, 120)), interpolation=filter_name).apply(image)
    theirs = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode(filter_name)),
            transforms.CenterCrop(224),
            transforms.PILToTensor(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(MEAN, STD),
        ]
    )(PIL.Image.fromarray(image))
    assert ours.shape == tuple(theirs.shape)
    assert np.abs(ours - theirs.numpy()).max() < 1e-6  # the last bit of a float32: 1/255 is multiplied there


def test_batch_equals_apply_one_by_one() -> None:
    data = dataset(40, 48)
    ready = default_preprocess(data).batch(data.test, [3, 0, 3])
    assert ready.shape == (3, 3, 40, 48)
    for row, i in zip(ready, [3, 0, 3], strict=True):
        assert np.array_equal(row, default_preprocess(data).apply(data.test.image(i)))


def test_large_batch_of_small_images_is_fast() -> None:
    x = np.random.default_rng(0).integers(0, 256, (3000, 28, 28), dtype=np.uint8)
    split = array_split(x, np.arange(3000) % 10, "here")
    ready = contract(height=32, width=32, resize="exact")
    began = time.process_time()
    assert ready.batch(split, np.arange(3000)).shape == (3000, 3, 32, 32)
    assert time.process_time() - began < 2.0  # about 0.3 s; the limit leaves room for a loaded machine


def test_default_preprocess_crops_only_when_images_are_large() -> None:
    small, big = default_preprocess(dataset(32, 32)), default_preprocess(dataset(320, 400), class_map=(3, 1))
    assert (small.height, small.resize, small.crop) == (32, "exact", "none")
    assert (big.height, big.resize, big.crop) == (224, 256, "center")
    assert (small.mean, small.std, small.scale, small.colour) == (MEAN, STD, 255.0, "RGB")
    assert (small.class_map, big.class_map) == (None, (3, 1))
    assert default_preprocess(dataset(32, 32), (0.5,) * 3, (0.25,) * 3).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": None},
        {"resize": 4, "crop": "none"},
        {"resize": None, "crop": "center", "height": 40},
        {"resize": 7, "crop": "center", "width": 64},
    ],
)
def test_apply_is_refused_with_both_sizes_when_the_image_does_not_come_out_right(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"image of 20 x 30 becomes .* but the model takes"):
        contract(**changes).apply(make_image(20, 30))


def test_apply_is_refused_when_a_strip_would_grow_without_bound() -> None:
    strip = np.zeros((1, 60000, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="would be resized to 256 x 15360000"):
        contract(resize=256, crop="center").apply(strip)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "uint8"},
        {"dtype": "uint8", "scale": 1, "mean": (1,) * 3, "std": (1,) * 3},
        {"dtype": "int8", "scale": 1, "mean": (0,) * 3, "std": (1,) * 3},
        {"dtype": "float16", "scale": 1e-4, "mean": (0,) * 3, "std": (1,) * 3},
        {"std": (1e-44,) * 3},
    ],
)
def test_contract_is_refused_when_its_type_cannot_hold_the_values(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot hold"):
        contract(**changes)


def test_contract_reads_back_the_same_from_json() -> None:
    one = contract(resize=256, crop="center", class_map=(0, 217), dtype="float16")
    back = Preprocess.from_json(json.loads(json.dumps(one.to_json())))
    assert back == one
    assert back.digest() == one.digest()
    assert hash(back) == hash(one)


def test_digest_differs_when_any_field_does() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"input_name": "x"},
        {"layout": "NHWC"},
        {"scale": 1.0},
        {"mean": (0.5,) * 3},
        {"resize": "exact"},
        {"reading": "probabilities"},
        {"class_map": (0, 1)},
    ]
    assert len({contract(**change).digest() for change in changes}) == len(changes)


def test_input_shape_follows_layout_and_colour() -> None:
    assert contract().input_shape(2) == (2, 3, 6, 8)
    assert contract(layout="NHWC", colour="L", mean=(0,), std=(1,)).input_shape(1) == (1, 6, 8, 1)


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("colour", ["RGB", "BGR", "L"])
def test_pixels_are_those_of_pillow_when_nothing_is_resized(colour: str, grey: bool) -> None:
    image = make_image()
    if grey:
        image = np.repeat(image[..., :1], 3, axis=2)
    values = {"mean": (0,), "std": (1,)} if colour == "L" else {"mean": (0,) * 3, "std": (1,) * 3}
    direct = contract(colour=colour, scale=1, resize="exact", **values)
    through_pillow = contract(colour=colour, scale=1, resize=6, crop="center", **values)
    assert np.array_equal(direct.apply(image), through_pillow.apply(image))


def test_grey_images_are_not_converted_when_nothing_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.repeat(make_image()[..., :1], 3, axis=2)
    fields = contract(colour="L", scale=1, mean=(0,), std=(1,))
    monkeypatch.setattr(PIL.Image, "fromarray", lambda image: pytest.fail("an image was converted"))
    assert np.array_equal(fields.apply(image)[0], image[..., 0])
