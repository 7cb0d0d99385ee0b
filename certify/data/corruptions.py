"""Seven common corruptions of images at five severities: leanmark's own set, named ``leanmark-corruptions-1``.

The kinds are those of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019 (arXiv 1903.12261); strengths and code are our own, so figures are not the paper's mCE and
cannot be compared with it. All randomness is seeded by the sample's digest: equal images give equal corrupted images.
Lengths are fractions of the shorter side, so a larger image of the same scene loses the same detail.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.data.altered_images import altered_split
from certify.data.dataset import Indices, Split
from certify.data.sources import Image

SET_NAME = "leanmark-corruptions-1"
SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 32
"""Side length in pixels for which the strengths of blur and pixelation are stated; they scale with the image."""

NOISE = (0.02, 0.03, 0.045, 0.06, 0.08)
"""Standard deviation of Gaussian noise, as a fraction of the full range."""
PHOTONS = (500.0, 250.0, 100.0, 75.0, 50.0)
"""Expected photons at full brightness, for shot noise."""
BLUR = (0.4, 0.6, 0.8, 1.0, 1.3)
"""Standard deviation of a Gaussian blur, in pixels of a 32-pixel image."""
BRIGHTNESS = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Offset of every value, as a fraction of the full range."""
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
"""Fraction of the distance from the image's mean that remains."""
QUALITY = (80, 65, 50, 40, 30)
"""JPEG quality."""
PIXELS = (0.95, 0.85, 0.75, 0.65, 0.5)
"""Fraction of 32 rows and columns that remains."""

Values = npt.NDArray[np.float64]
Corruption = Callable[[Values, int, np.random.Generator], Values]
"""(values 0 to 1 (H, W, 3), severity counted from 0, generator) -> values of the same shape, clipped later."""


def _noise(values: Values, level: int, rng: np.random.Generator) -> Values:
    return values + rng.normal(0.0, NOISE[level], values.shape)


def _shot(values: Values, level: int, rng: np.random.Generator) -> Values:
    counted: Values = rng.poisson(values * PHOTONS[level]) / PHOTONS[level]
    return counted


def _blur(values: Values, level: int, rng: np.random.Generator) -> Values:
    sigma = BLUR[level] * min(values.shape[:2]) / SIDE
    blurred: Values = ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest")
    return blurred


def _brightness(values: Values, level: int, rng: np.random.Generator) -> Values:
    return values + BRIGHTNESS[level]


def _contrast(values: Values, level: int, rng: np.random.Generator) -> Values:
    mean: Values = values.mean((0, 1), keepdims=True)
    return mean + CONTRAST[level] * (values - mean)


def _jpeg(values: Values, level: int, rng: np.random.Generator) -> Values:
    import PIL.Image  # in the extra 'measure': a referee who only verifies decodes no images

    stream = io.BytesIO()
    PIL.Image.fromarray(np.rint(255 * values).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY[level])
    with PIL.Image.open(stream) as decoded:
        return np.asarray(decoded.convert("RGB"), dtype=np.float64) / 255


def _pixelate(values: Values, level: int, rng: np.random.Generator) -> Values:
    import PIL.Image

    height, width = values.shape[:2]
    share = PIXELS[level] * SIDE / min(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    image = PIL.Image.fromarray(np.rint(255 * values).astype(np.uint8))
    small = image.resize(size, PIL.Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), PIL.Image.Resampling.NEAREST), dtype=np.float64) / 255


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": _noise,
    "shot": _shot,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
}
"""The corruptions, in printing order."""


def corrupted(image: Image, name: str, severity: int, key: str) -> Image:
    """Corrupt one image.

    Args:
        image: uint8 (H, W, 3).
        name: key of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        key: seed of all random draws, such as the sample's digest.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UsageError: unknown corruption or severity.

    Example:
        >>> grey = np.full((32, 32, 3), 100, dtype=np.uint8)
        >>> int(corrupted(grey, "brightness", 3, "")[0, 0, 0])
        151
    """
    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise UsageError(f"The severity of a corruption must be an integer in [1, 5], got {severity}.")
    # The set's name is part of the seed, so that a later set uses other random numbers.
    seed = hashlib.sha256(f"{SET_NAME}/{name}/{severity}/{key}".encode()).digest()
    values = CORRUPTIONS[name](image / 255.0, severity - 1, np.random.default_rng(list(seed)))
    corrupted: Image = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return corrupted


def corrupted_split(split: Split, indices: Indices, name: str, severity: int) -> Split:
    """Return the samples at ``indices``, in that order, each corrupted by its own random draws.

    Raises:
        DataError: the samples are not images.
        UsageError: unknown corruption or severity.
    """
    keys = [split.digest(int(i)) for i in indices]
    return altered_split(split, indices, lambda row, image: corrupted(image, name, severity, keys[row]))
