"""Trained ResNets for CIFAR-10 and their data, for the recipes ``cifar-resnet56.yaml`` and ``cifar-resnet20.yaml``.

    leanmark compress tests.benchmarks.cifar:resnet56 --weights ../shared/data/cifar10/resnet56.safetensors \\
        --data tests.benchmarks.cifar:data --recipe tests/benchmarks/cifar-resnet56.yaml

takes an hour or two on two cores, and resumes when it is started again after a stop. Run as a script, this file prints
the accuracy of the trained networks, and of the results in the folder ``build`` or another given one.

The networks are those of "Deep Residual Learning for Image Recognition", 2015 (arXiv 1512.03385), section 4.2, with the
parameter-free shortcuts called option A. Weights and data are in the folder ``cifar10`` of ``../shared/data``, or of
the folder that LEANMARK_BENCH_DATA names. Of the training images 4,000 are lossless, as published; all others are small
JPEG files, on which such networks lose ten points; see :func:`data`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import nn

from certify.core import files
from certify.core.errors import DataError
from certify.core.folders import cache_folder
from certify.data import Dataset, array_split, default_preprocess
from compress.core import model_stats
from compress.exchange import checkpoint
from compress.job.job import CHECKPOINT, MODEL
from compress.models import weights
from compress.training.optimization import has_fast_bfloat16
from compress.training.training import evaluate

DATA = Path(os.environ.get("LEANMARK_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WIDTHS = (16, 32, 64)
CALIBRATION, VALIDATION = 256, 400
REPEATS = 5
"""Repetitions of each lossless image in the train part, each shifted and mirrored differently."""

QUALITY = 75
"""Quality of the JPEG files: libjpeg's quantization tables of this quality, with chroma subsampling by 2."""
KEY_DIGITS = 16
RESTORER_EPOCHS, RESTORER_BATCH, RESTORER_LR, RESTORER_WIDTH, RESTORER_SEED = 30, 64, 2e-3, 64, 0


class Block(nn.Module):
    """Two convolutions and a parameter-free shortcut.

    Args:
        narrow: number of input channels.
        wide: number of output channels; doubling them halves the image's sides.
    """

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.stride, self.more = wide // narrow, (wide - narrow) // 2
        self.conv1 = nn.Conv2d(narrow, wide, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, C, H, W) to half the sides and twice the channels, or to the same shape."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more:  # every second pixel, with equal numbers of zero channels before and after
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(out + x)


class ResNet(nn.Module):
    """ResNet for images of 32 x 32.

    Args:
        blocks: number of blocks in each of the three stages.
        num_classes: number of outputs.
    """

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        for stage, wide in enumerate(WIDTHS, start=1):
            narrow = WIDTHS[max(stage - 2, 0)]
            rest = [Block(wide, wide) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(Block(narrow, wide), *rest))
        self.linear = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) for images (n, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def resnet20(num_classes: int = 10) -> nn.Module:
    """ResNet-20: 0.27 million parameters, 41 million multiply-adds."""
    return ResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    """ResNet-56: 0.85 million parameters, 125 million multiply-adds."""
    return ResNet(9, num_classes)


def data() -> dict[str, Any]:
    """Load CIFAR-10 for ``--data``: parts with images (n, 32, 32, 3) uint8 and labels, and class names.

    The test part has the 1,000 lossless test images. The 4,000 lossless training images are split, in order, into
    train, calibration and validation; train also gets the 46,000 others, restored from JPEG (see :func:`restored`). No
    image of another part is in train, not even as JPEG.

    Raises:
        DataError: the files do not exist.
    """
    lossless, labels = _lossless("train_4000.npz")
    images, jpeg_labels = _jpeg("train_50000_jpeg.npz")
    others = np.setdiff1d(np.arange(len(images)), twins(lossless, labels, images, jpeg_labels))
    end = len(lossless) - CALIBRATION - VALIDATION
    mine, calibration, validation = slice(end), slice(end, end + CALIBRATION), slice(end + CALIBRATION, None)
    better = restored(images[others], lossless[mine])
    return {
        "train": (
            np.concatenate([better, *[lossless[mine]] * REPEATS]),
            np.concatenate([jpeg_labels[others], *[labels[mine]] * REPEATS]),
        ),
        "calibration": (lossless[calibration], labels[calibration]),
        "validation": (lossless[validation], labels[validation]),
        "test": _lossless("test_1000.npz"),
        "classes": CLASSES,
    }


def lossless_data() -> dict[str, Any]:
    """Load only the lossless images, split as in :func:`data`: fast, and enough to recover from light pruning."""
    images, labels = _lossless("train_4000.npz")
    end = len(images) - CALIBRATION - VALIDATION
    cuts = {"train": (0, end), "calibration": (end, end + CALIBRATION), "validation": (end + CALIBRATION, len(images))}
    parts = {part: (images[a:b], labels[a:b]) for part, (a, b) in cuts.items()}
    return {**parts, "test": _lossless("test_1000.npz"), "classes": CLASSES}


def published(factory: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with its trained weights."""
    model = factory()
    weights.fit(model, weights.read(DATA / f"{factory.__name__}.safetensors"), factory.__name__)
    return model


def twins(lossless: np.ndarray, labels: np.ndarray, images: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return for each lossless image the row of the nearest of ``images`` in its class, by squared distance, (n,)."""
    found = np.empty(len(lossless), dtype=np.int64)
    for label in np.unique(labels):
        mine, theirs = np.flatnonzero(labels == label), np.flatnonzero(of == label)
        ours, others = (
            torch.from_numpy(pixels.reshape(len(pixels), -1)).float() for pixels in (lossless[mine], images[theirs])
        )
        distances = others.square().sum(1) - 2 * ours @ others.T
        found[mine] = theirs[distances.argmin(1).numpy()]
    return found


def restored(images: np.ndarray, lossless: np.ndarray) -> np.ndarray:
    """Restore images from JPEG artefacts, (n, 32, 32, 3) uint8; the result is cached.

    A small network learns the artefacts from lossless images and their JPEG versions (as ARCNN: Dong et al.,
    "Compression Artifacts Reduction by a Deep Convolutional Network", ICCV 2015, arXiv 1504.06993).
    """
    key = hashlib.sha256(lossless.tobytes() + images.tobytes()).hexdigest()[:KEY_DIGITS]
    path = cache_folder() / "benchmarks" / f"cifar10_restored_{key}.npz"
    if not path.is_file():
        network = _restorer(lossless)
        with torch.inference_mode():
            parts = [network(_scaled(images[i : i + 256])) for i in range(0, len(images), 256)]
        pixels = torch.cat(parts).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        with files.replacing(path) as beside, beside.open("wb") as stream:
            np.savez(stream, x=pixels)
    with np.load(path) as archive:
        kept: np.ndarray = archive["x"]
    return kept


class Restorer(nn.Module):
    """Network that adds a correction by five convolutions at half resolution to images (n, 3, H, W) in 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        inner = [nn.Sequential(nn.Conv2d(RESTORER_WIDTH, RESTORER_WIDTH, 3, 1, 1), nn.ReLU()) for _ in range(3)]
        first, last = nn.Conv2d(12, RESTORER_WIDTH, 3, 1, 1), nn.Conv2d(RESTORER_WIDTH, 12, 3, 1, 1)
        self.layers = nn.Sequential(first, nn.ReLU(), *inner, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the restored images, in the same shape."""
        return x + F.pixel_shuffle(self.layers(F.pixel_unshuffle(x, 2)), 2)


def _restorer(lossless: np.ndarray) -> nn.Module:
    """Train on lossless images, unchanged and mirrored, and their JPEG versions."""
    both = np.concatenate([lossless, lossless[:, :, ::-1]])
    fast = has_fast_bfloat16(torch.device("cpu"))
    wanted, given = _scaled(both), _scaled(np.stack([_through_jpeg(image) for image in both]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RESTORER_SEED)
        network = Restorer()
        optimizer = torch.optim.AdamW(network.parameters(), lr=RESTORER_LR)
        steps = RESTORER_EPOCHS * len(lossless) // RESTORER_BATCH
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RESTORER_LR, steps, pct_start=0.1)
        for _ in range(steps):
            rows = torch.randint(len(both), (RESTORER_BATCH,))
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                found = network(given[rows])
            loss = (found.float() - wanted[rows]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def main() -> None:
    """Print the accuracy of the trained networks on the test images, and of existing compressed ones."""
    from _bench import options  # here, since other programs import this module by its full name

    parser = options(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build"), help="folder of the compressed networks")
    folder = parser.parse_args().folder
    if not DATA.is_dir():
        print(f"Left out: {DATA} is absent (see LEANMARK_BENCH_DATA).")
        return
    images, labels = _lossless("test_1000.npz")
    test = array_split(images, labels, "test_1000.npz")
    dataset = Dataset("cifar10", "bench", CLASSES, None, None, None, test, input_size=images.shape[1:3])
    contract = default_preprocess(dataset)
    for factory in (resnet20, resnet56):
        name, made = factory.__name__, folder / factory.__name__
        model = published(factory)
        _print(f"{name}, as it was published", evaluate(model, test, contract).accuracy, model)
        if (made / CHECKPOINT).is_file():
            model = checkpoint.load(made / CHECKPOINT, into=model)
            _print(f"{name}, compressed, in floats", evaluate(model, test, contract).accuracy, model)
            _print(
                f"{name}, {made / MODEL}", model_stats.file_accuracy(made / MODEL, test, contract, len(CLASSES)), model
            )


def _print(what: str, accuracy: float, model: nn.Module) -> None:
    macs = model_stats.count_macs(model, torch.zeros(1, 3, 32, 32))
    print(f"{what}: {accuracy:.1%} of the test images, {macs / 1e6:.1f} million multiply-adds")


def _scaled(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).contiguous().float() / 255


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=QUALITY)
    return _decoded(stream.getvalue())


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"))


def _lossless(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_found(name)) as archive:
        return archive["x"], archive["y"]


def _jpeg(name: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(_found(name)) as archive:
        blob, offsets, labels = archive["blob"].tobytes(), archive["offsets"].tolist(), archive["y"].astype(np.int64)
    images = np.stack([_decoded(blob[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)])
    return images, labels


def _found(name: str) -> Path:
    if not (DATA / name).is_file():
        raise DataError(f"{DATA / name} is missing; set LEANMARK_BENCH_DATA to the folder that contains cifar10.")
    return DATA / name


if __name__ == "__main__":
    from _bench import run

    run(main)
