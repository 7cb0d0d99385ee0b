"""Label-preserving changes of images, so that no lookup table holds the samples.

A third of the samples are shifted, a third are re-encoded as JPEG and a third stay in place; then every value is raised
or lowered by one grey level at random. Nothing is mirrored, since no contract says whether a mirrored image keeps its
label (a digit 2 or a text does not). Tokens have no such changes.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np

from certify.data.dataset import Indices, Split
from certify.data.sources import Image

LARGE_SIDE = 64
"""Pixels of the shorter side from which an image is shifted by up to 2 pixels; smaller ones by 1."""
JPEG_QUALITIES = (90, 96)
"""Range of the quality; the upper end is excluded."""
KINDS = ("shifted", "re-encoded", "in place")


class ChangedSource:
    """A source that changes each sample of a split by its own random draw.

    Args:
        split: split of images.
        seed: seed of the changes.
    """

    def __init__(self, split: Split, seed: str) -> None:
        self._split = split
        self._seed = seed

    def image(self, row: int) -> Image:
        """Return the changed image, uint8 (H, W, 3)."""
        # Drawn from the content, so that the order in which samples are read does not matter.
        drawn = hashlib.sha256(f"{self._seed}/change/{row}/{self._split.digest(row)}".encode()).digest()
        return changed(self._split.image(row), KINDS[row % len(KINDS)], np.random.default_rng(list(drawn)))

    def size(self, row: int) -> tuple[int, ...]:
        """Return (H, W), unchanged."""
        return self._split.size(row)

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of the changed values."""
        return hashlib.sha256(self.image(row).tobytes()).hexdigest()


def changed_split(split: Split, indices: Indices, seed: str) -> Split | None:
    """Return the changed samples at ``indices``, in that order, or None if they are not images."""
    if split.kind != "image":
        return None
    chosen = split.subset(indices)
    return Split(ChangedSource(chosen, seed), chosen.labels, targets=chosen.targets)


def changed(image: Image, kind: str, rng: np.random.Generator) -> Image:
    """Shift or re-encode an image, uint8 (H, W, 3), and move each value by at most one grey level."""
    if kind == "shifted":
        image = _shifted(image, rng)
    elif kind == "re-encoded":
        image = _encoded(image, int(rng.integers(*JPEG_QUALITIES)))
    # Grey images have three equal channels, and must keep them equal.
    grey = bool((image == image[..., :1]).all())
    noise = rng.integers(-1, 2, image.shape[:2] + ((1,) if grey else (3,)))
    noisy: Image = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return noisy


def _shifted(image: Image, rng: np.random.Generator) -> Image:
    """Shift an image by 1 to ``most`` pixels in a random direction; edge pixels are repeated."""
    most = 1 if min(image.shape[:2]) < LARGE_SIDE else 2
    steps = [
        (down, right) for down in range(-most, most + 1) for right in range(-most, most + 1) if (down, right) != (0, 0)
    ]
    down, right = steps[int(rng.integers(len(steps)))]
    rows = np.clip(np.arange(image.shape[0]) - down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) - right, 0, image.shape[1] - 1)
    moved: Image = image[rows][:, columns]
    return moved


def _encoded(image: Image, quality: int) -> Image:
    import PIL.Image  # in the extra 'measure': a referee who only verifies decodes no images

    grey = bool((image == image[..., :1]).all())
    stream = io.BytesIO()
    encoded = PIL.Image.fromarray(image[..., 0] if grey else image)
    encoded.save(stream, "JPEG", quality=quality, **({} if grey else {"subsampling": 0}))
    with PIL.Image.open(stream) as decoded:
        return np.array(decoded.convert("RGB"), dtype=np.uint8)
