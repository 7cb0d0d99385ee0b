"""The preprocessing contract of a model that takes images."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError, UsageError
from certify.data.contract import Columns, Interpolation, Name, Positive, Reading, Side
from certify.data.dataset import BIG_SIZE, Dataset, Indices, Split
from certify.data.preprocess import Preprocess
from certify.data.sources import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BIG_RESIZE = 256
"""Pixels of the shorter side before the centre crop to 224, as in the evaluation of ImageNet classifiers."""
MAX_PIXELS = 1 << 26
"""Largest image that resizing may make; a strip of one pixel's width would grow without bound."""


@dataclass(frozen=True)
class ImagePreprocess(Preprocess):
    """Preprocessing of an image before the model, and the meaning of the model's output.

    The steps in order: colours, resize, crop, ``(value / scale - mean) / std``, type, layout.

    Attributes:
        input_name: name of the model's input.
        output_name: name of the scored output.
        height: height of the input in pixels.
        width: width of the input in pixels.
        layout: ``NCHW`` or ``NHWC``.
        colour: ``RGB``, ``BGR``, or ``L`` (grey: ITU-R 601-2 luma, one channel).
        scale: divisor of the pixel values (0 to 255).
        mean: subtracted after scaling, one value per channel, in the order of ``colour``.
        std: divisor after subtracting the mean, one value per channel.
        resize: target length of the shorter side, keeping the aspect ratio; ``exact`` to resize to (height, width)
            directly; None for no resizing.
        crop: ``center`` or ``none``.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; the last two antialias (Pillow's filters).
        reading: meaning of the output, ``logits`` or ``probabilities``.
        dtype: type of the input: ``float32``, ``float16``, ``uint8`` or ``int8``.
        class_map: output column of each class of the data, or None if output i is class i.

    Raises:
        UsageError: an invalid value, or an integer type that cannot hold the values.

    Example:
        >>> contract = ImagePreprocess(
        ...     input_name="image", output_name="scores", height=224, width=224, layout="NCHW", colour="RGB",
        ...     scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256, crop="center",
        ...     interpolation="bilinear", reading="logits")
        >>> contract.port_shape(batch=1)
        (1, 3, 224, 224)
    """

    kind: ClassVar[str] = "image"
    input_name: Name
    output_name: Name
    height: Side
    width: Side
    layout: Literal["NCHW", "NHWC"]
    colour: Literal["RGB", "BGR", "L"]
    scale: Positive
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    resize: Side | Literal["exact"] | None
    crop: Literal["center", "none"]
    interpolation: Interpolation
    reading: Reading
    dtype: Literal["float32", "float16", "uint8", "int8"] = "float32"
    class_map: Columns | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._table  # noqa: B018  detect an integer type that cannot hold the values here, not in the first batch

    @staticmethod
    def _problems(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from Preprocess._problems(checked)
        colour, channels = checked["colour"], 1 if checked["colour"] == "L" else 3
        for key in ("mean", "std"):
            if (count := len(checked[key])) != channels:
                values = f"{count} value{'s' if count != 1 else ''}"
                has = f"{channels} channel{'s' if channels > 1 else ''}"
                yield key, f"{key} has {values}, but colour {colour} has {has}; give one value per channel"

    @property
    def channels(self) -> int:
        """1 for grey, otherwise 3."""
        return 1 if self.colour == "L" else 3

    @property
    def input_names(self) -> tuple[str]:
        """Name of the only input."""
        return (self.input_name,)

    def port_shape(self, batch: int) -> tuple[int, int, int, int]:
        """Return (batch, C, H, W), or (batch, H, W, C) for ``NHWC``."""
        if self.layout == "NCHW":
            return batch, self.channels, self.height, self.width
        return batch, self.height, self.width, self.channels

    def apply(self, image: Image) -> npt.NDArray[Any]:
        """Preprocess one image: (C, H, W), or (H, W, C) for ``NHWC``.

        Args:
            image: uint8 (h, w, 3), RGB.

        Raises:
            DataError: the size after resizing and cropping is not (height, width).
        """
        ready: npt.NDArray[Any] = self._values(self._geometry(image)[None])[0]
        return ready

    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Prepare the samples at ``indices``: (n, C, H, W), or (n, H, W, C) for ``NHWC``."""
        pixels = np.empty((len(indices), self.height, self.width, self.channels), dtype=np.uint8)
        for position, i in enumerate(indices):
            pixels[position] = self._geometry(split.image(int(i)))
        return self._values(pixels)

    def noise(self, count: int) -> npt.NDArray[Any]:
        """Return standard normal values, which have the range of normalised images."""
        values = np.random.default_rng(0).standard_normal(self.port_shape(count), dtype=np.float32)
        noise: npt.NDArray[Any] = values.astype(self.dtype)
        return noise

    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """Return ``neighbour_correlation``: correlation of each value with its right neighbour; 0 if nothing varies."""
        rows = np.moveaxis(samples, -1 if self.layout == "NCHW" else -2, -1)
        left, right = (part.reshape(-1).astype(np.float64) for part in (rows[..., :-1], rows[..., 1:]))
        varies = left.size and np.ptp(left) > 0 and np.ptp(right) > 0
        return {"neighbour_correlation": float(np.corrcoef(left, right)[0, 1]) if varies else 0.0}

    def _geometry(self, image: Image) -> Image:
        """Convert colours, resize and crop: uint8 (height, width, channels)."""
        if image.shape[:2] == (self.height, self.width) and self.resize in (None, "exact"):
            # Most of the time of small images went into conversions to Pillow's form and back.
            if self.colour != "L":
                return image[..., ::-1] if self.colour == "BGR" else image
            if (image == image[..., :1]).all():
                return image[..., :1]  # luma of three equal channels is their value
        import PIL.Image  # in the extra 'measure': a referee who only verifies decodes no images

        resized = PIL.Image.fromarray(image)
        if self.colour == "L":
            resized = resized.convert("L")
        if self.resize is not None:
            size = (self.width, self.height) if self.resize == "exact" else _shorter_side(resized.size, self.resize)
            if size[0] * size[1] > MAX_PIXELS:
                raise DataError(
                    f"An image of {image.shape[0]} x {image.shape[1]} (height x width) would be resized to {size[1]} x "
                    f"{size[0]}, which takes too much memory; remove it from the data."
                )
            if size != resized.size:
                resized = resized.resize(size, getattr(PIL.Image.Resampling, self.interpolation.upper()))
        if self.crop == "center" and resized.height >= self.height and resized.width >= self.width:
            # Round halves to even, as torchvision's CenterCrop does.
            top, left = round((resized.height - self.height) / 2), round((resized.width - self.width) / 2)
            resized = resized.crop((left, top, left + self.width, top + self.height))
        if resized.size != (self.width, self.height):
            raise DataError(
                f"An image of {image.shape[0]} x {image.shape[1]} becomes {resized.height} x {resized.width}, but the "
                f"model takes {self.height} x {self.width} (height x width); set resize and crop in the contract."
            )
        pixels = np.asarray(resized, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        return pixels[..., ::-1] if self.colour == "BGR" else pixels

    def levels(self) -> int:
        """Return how many of the 256 pixel values the input's type tells apart, in its worst channel."""
        return min(len(np.unique(channel)) for channel in self._table)

    def _values(self, pixels: Image) -> npt.NDArray[Any]:
        """Convert pixels (n, height, width, channels) to the model's input."""
        table: npt.NDArray[Any] = self._table
        ready = np.empty(self.port_shape(len(pixels)), dtype=self.dtype)
        for channel in range(self.channels):
            target = ready[:, channel] if self.layout == "NCHW" else ready[..., channel]
            target[...] = table[channel][pixels[..., channel]]
        return ready

    @functools.cached_property
    def _table(self) -> npt.NDArray[Any]:
        """Lookup table of the 256 pixel values, (channels, 256): the formula is evaluated once, in float32."""
        scaled = np.arange(256, dtype=np.float32) / np.float32(self.scale)
        mean, std = (np.array(values, dtype=np.float32)[:, None] for values in (self.mean, self.std))
        # Overflow is reported below in words.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            values = (scaled[None] - mean) / std
            table: npt.NDArray[Any] = values.astype(self.dtype)
            exact = np.issubdtype(table.dtype, np.floating) or np.array_equal(table.astype(np.float32), values)
        if not exact or not np.isfinite(table.astype(np.float32)).all():
            raise UsageError(
                f"Preprocessing contract: scale {self.scale:g}, mean {self.mean} and std {self.std} give values from "
                f"{values.min():g} to {values.max():g} that {self.dtype} cannot hold; correct them or the dtype."
            )
        return table


def _shorter_side(size: tuple[int, int], length: int) -> tuple[int, int]:
    """Return (W, H) with the shorter side scaled to ``length``; the longer is truncated, as in torchvision."""
    width, height = size
    if width <= height:
        return length, int(length * height / width)
    return int(length * width / height), length


def default_preprocess(
    dataset: Dataset,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    *,
    class_map: Sequence[int] | None = None,
    input_name: str = "input",
    output_name: str = "output",
) -> ImagePreprocess:
    """Return the contract of networks that are trained or loaded here: RGB, bilinear, NCHW, float32.

    Large images are resized to 256 pixels on the shorter side and cropped to 224 x 224; small ones are resized to
    ``dataset.input_size`` directly.

    Args:
        dataset: data with the images that the model takes.
        mean: mean of each channel, on a scale of 0 to 1.
        std: standard deviation of each channel, on the same scale.
        class_map: ``dataset.class_map`` for a network with ImageNet's 1,000 outputs, None if its head fits the data.
        input_name: name of the model's input.
        output_name: name of the model's output.

    Raises:
        DataError: the data are not images.
    """
    if dataset.test.kind != "image":
        raise DataError(
            f"The model takes images, but data '{dataset.name}' are of kind '{dataset.test.kind}'; use image data."
        )
    height, width = dataset.input_size
    big = dataset.input_size == BIG_SIZE
    return ImagePreprocess(
        input_name=input_name,
        output_name=output_name,
        height=height,
        width=width,
        layout="NCHW",
        colour="RGB",
        scale=255.0,
        mean=tuple(mean),
        std=tuple(std),
        resize=BIG_RESIZE if big else "exact",
        crop="center" if big else "none",
        interpolation="bilinear",
        reading="logits",
        class_map=None if class_map is None else tuple(class_map),
    )
