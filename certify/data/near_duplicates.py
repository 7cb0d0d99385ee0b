"""Detection of near-duplicate images: re-encoded, mirrored, shifted, brightened, or with a changed pixel.

Digests differ as soon as copies differ by one bit. Here every image is converted to grey and, if the images have
several sizes or sides of more than 32 pixels, resized to 32 x 32. Two steps:

1. Candidates. The magnitudes of the lowest frequencies do not change when an image is shifted. The few nearest
  neighbours of each sample and of its mirror image, by the correlation of these magnitudes, are candidates.
2. Decision. The correlation of the pixels themselves, at the best of all shifts by up to two pixels. It is invariant to
  brightness and contrast.

Digits resemble each other, so a 64-bit difference hash alone would call many of them copies. ``python
tests/benchmarks/near_duplicates.py`` lists what this method and that hash find and miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from certify.core.observations import NearDuplicates
from certify.data.dataset import PAIRS, Dataset, Split

SIDE = 32
FREQUENCIES = 4
"""Frequencies in each direction; the resulting 44 magnitudes distinguish images well enough to find candidates."""
NEIGHBOURS = 8
LEAST_SIMILAR = 0.9
"""Least correlation of the magnitudes for a comparison of pixels. Copies of digits reach 0.98 and more, copies of
photos less if a shift adds a border."""
SHIFT = 2
DISTANCE = 0.005
"""Threshold of 1 - correlation of the pixels. The nearest distinct images are at 0.020 in MNIST, 0.013 in CIFAR-10
(50,000) and 0.09 in ImageNet (400); 2 of 1,000 in Fashion-MNIST are below it. Copies by JPEG 95 are within 0.004 for 99
% of CIFAR-10."""
SAMPLES, AMONG = 2000, 10_000
"""Numbers of samples searched for and searched among, evenly spaced in the order of their digests."""
SIZES = 64
"""Number of images of each part whose size is read."""
SMALLEST = 12
BLOCK = 512

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Thumbnails:
    """Sampled images of a part.

    Attributes:
        pixels: grey images, (n, h, w).
        digests: digests of the samples, (n,).
        of: size of the whole part, without duplicates.
    """

    pixels: Values
    digests: npt.NDArray[np.str_]
    of: int

    def first(self, count: int) -> _Thumbnails:
        """Return ``count`` of the samples, evenly spaced."""
        chosen = np.arange(min(count, len(self.pixels))) * len(self.pixels) // min(count, len(self.pixels))
        return _Thumbnails(self.pixels[chosen], self.digests[chosen], self.of)


def near_duplicates(dataset: Dataset) -> dict[str, NearDuplicates]:
    """Count test samples that nearly equal a sample of train, calibration or validation, or another test sample.

    Returns:
        Counts by ``first/test`` for each existing part, and ``test/test``; empty for text, which is not searched.
    """
    if dataset.test.kind != "image":
        return {}
    names = [first for first, second in PAIRS if second == "test" and first in dataset.parts]
    size = _common_size([dataset.parts[name] for name in (*names, "test")])
    test = _thumbnails(dataset.test, size)
    others = {name: _thumbnails(dataset.parts[name], size) for name in names}
    return {f"{name}/test": _count(test, among) for name, among in {**others, "test": test}.items()}


def _common_size(splits: Sequence[Split]) -> tuple[int, int]:
    """Return the size of all images if they are small and of equal size, otherwise the default size."""
    sizes = {split.size(i) for split in splits for i in range(0, len(split), 1 + len(split) // SIZES)}
    height, *width = sizes.pop()
    small = not sizes and max(height, *width) <= SIDE and min(height, *width) >= SMALLEST
    return (height, width[0]) if small else (SIDE, SIDE)


def _thumbnails(split: Split, size: tuple[int, int]) -> _Thumbnails:
    """Decode samples, one per digest."""
    # Reversed, so that the first of equal samples is kept.
    rows = {digest: i for i, digest in reversed(list(enumerate(split.digests())))}
    ordered = sorted(rows)
    count = min(AMONG, len(ordered))
    # Evenly over the sorted digests: a choice that follows from the data and that nobody can steer.
    digests = [ordered[k * len(ordered) // count] for k in range(count)]
    pixels, wide = np.empty((count, *size), dtype=np.float32), (size[1], size[0])
    for k, digest in enumerate(digests):
        grey = Pillow.fromarray(split.image(rows[digest])).convert("L")
        pixels[k] = np.asarray(grey if grey.size == wide else grey.resize(wide, Pillow.Resampling.BILINEAR))
    return _Thumbnails(pixels, np.array(digests), len(ordered))


def _count(test: _Thumbnails, among: _Thumbnails) -> NearDuplicates:
    compared = test.first(SAMPLES)
    distances = nearest(compared.pixels, among.pixels, compared.digests, among.digests if among is test else None)
    near = int(np.sum(distances <= DISTANCE))
    return NearDuplicates(near, len(compared.pixels), len(among.pixels), among.of)


def nearest(
    pixels: Values,
    among: Values,
    digests: npt.NDArray[np.str_] | None = None,
    digests_among: npt.NDArray[np.str_] | None = None,
) -> Values:
    """Return the distance of each image to its nearest other image: 1 - correlation, over shifts and mirror images.

    Args:
        pixels: grey images, (n, h, w).
        among: grey images to search among, (m, h, w), at least one.
        digests: digests of the images, (n,); if both are given, an image is not compared with itself.
        digests_among: digests of the images to search among, (m,).
    """
    known, inner = _spectra(among), _unit(among[:, SHIFT:-SHIFT, SHIFT:-SHIFT])
    best = np.full(len(pixels), -1.0, dtype=np.float32)
    for variant in (pixels, pixels[:, :, ::-1]):
        spectra = _spectra(variant)
        for start in range(0, len(variant), BLOCK):
            block = slice(start, start + BLOCK)
            # Magnitudes of frequencies do not change under shifts, so one product preselects for all of them.
            similar = spectra[block] @ known.T
            if digests is not None and digests_among is not None:
                similar[digests[block, None] == digests_among[None]] = -1
            count = min(NEIGHBOURS, similar.shape[1])
            # Only the few most similar pairs are compared pixel by pixel at every shift, which costs far more.
            columns = np.argpartition(-similar, count - 1, axis=1)[:, :count]
            rows, places = np.nonzero(np.take_along_axis(similar, columns, axis=1) >= LEAST_SIMILAR)
            alike = _alike(variant[block][rows], inner[columns[rows, places]])
            np.maximum.at(best, start + rows, alike)
    return np.asarray(1 - best, dtype=np.float32)


def _alike(pixels: Values, inner: Values) -> Values:
    """Return the correlation of each pair, (k, h, w) and (k, inner pixels), at the best shift."""
    best = np.full(len(pixels), -1.0, dtype=np.float32)
    height, width = pixels.shape[1:]
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            window = pixels[:, top : height - 2 * SHIFT + top, left : width - 2 * SHIFT + left]
            np.maximum(best, np.einsum("ij,ij->i", _unit(window), inner), out=best)
    return best


def _spectra(pixels: Values) -> Values:
    """Return the magnitudes of the lowest frequencies except the mean, as unit vectors, (n, 44)."""
    found = [
        np.abs(np.fft.rfft2(pixels[start : start + BLOCK]))[:, list(range(-FREQUENCIES, FREQUENCIES + 1))]
        for start in range(0, len(pixels), BLOCK)
    ]
    magnitudes = np.concatenate(found)[:, :, : FREQUENCIES + 1].reshape(len(pixels), -1)
    mean = FREQUENCIES * (FREQUENCIES + 1)
    return _unit(np.sqrt(np.delete(magnitudes, mean, axis=1)))


def _unit(values: npt.NDArray[np.floating]) -> Values:
    """Return vectors centred and scaled to length 1; 0 if all values are equal."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:]))).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # A constant image has length 0 and correlates with nothing.
    return np.asarray(flat / np.maximum(length, 1e-3), dtype=np.float32)
