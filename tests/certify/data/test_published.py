"""The published sets, on small files of the same layout, laid where a finished download would lie."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from certify.core.errors import DataError
from certify.core.progress import Silent
from certify.data import load, published, require_separate
from certify.data.folders import IMAGENETTE
from certify.data.published import IDX_IMAGES, load_fashion_mnist, read_idx


def cifar10_tree(cache: Path, records: int = 20) -> np.ndarray:
    """Six batches; returns the records of all of them, (6, records, 3073)."""
    folder = cache / "cifar-10-batches-bin/cifar-10-batches-bin"
    folder.mkdir(parents=True)
    rows = np.random.default_rng(0).integers(0, 256, (6, records, 3073), dtype=np.uint8)
    rows[..., 0] = np.arange(records) % 10
    for name, batch in zip([*published.CIFAR10_TRAIN, *published.CIFAR10_TEST], rows, strict=True):
        (folder / name).write_bytes(batch.tobytes())
    return rows


def fashion_files(folder: Path, train: int = 100, test: int = 20) -> np.ndarray:
    """Four files; returns the test images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, n in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        images = b"\x00\x00\x08\x03" + struct.pack(">3I", n, 28, 28) + pixels.tobytes()
        labels = b"\x00\x00\x08\x01" + struct.pack(">I", n) + (np.arange(n) % 10).astype(np.uint8).tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(mtime=0, data=images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(mtime=0, data=labels))
    return pixels


def test_cifar10_reads_planes_and_labels_when_it_is_in_the_cache(tmp_path: Path) -> None:
    rows = cifar10_tree(tmp_path)
    data = load("cifar10", cache=tmp_path)
    assert (data.name, data.input_size, data.classes[9]) == ("cifar10", (32, 32), "truck")
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 81,
        "calibration": 9,
        "validation": 10,
        "test": 20,
    }
    assert data.test.labels.tolist() == rows[5, :, 0].tolist()
    assert np.array_equal(data.test.image(7), rows[5, 7, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
    require_separate(data)


def test_cifar10_drops_training_images_that_the_test_part_repeats(tmp_path: Path) -> None:
    cifar10_tree(tmp_path)
    folder = tmp_path / "cifar-10-batches-bin/cifar-10-batches-bin"
    (folder / "data_batch_1.bin").write_bytes((folder / "test_batch.bin").read_bytes())
    data = load("cifar10", cache=tmp_path)
    assert len(data.test) == 20
    assert sum(len(split) for split in data.parts.values()) == 100
    require_separate(data)


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_cifar10_is_refused_when_a_batch_is_damaged(tmp_path: Path, content: bytes | None) -> None:
    cifar10_tree(tmp_path)
    path = tmp_path / "cifar-10-batches-bin/cifar-10-batches-bin/data_batch_2.bin"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_2.bin"):
        load("cifar10", cache=tmp_path)


@pytest.mark.parametrize("local", [True, False])
def test_fashion_mnist_is_read_when_it_is_on_this_machine(tmp_path: Path, local: bool) -> None:
    pixels = fashion_files(tmp_path / "fashion-mnist")
    debian = tmp_path / ("fashion-mnist" if local else "none")
    cache = tmp_path / "unused" if local else tmp_path
    data = load_fashion_mnist(cache, 0, Silent(), debian=debian)
    assert (data.name, data.input_size, data.classes[9]) == ("fashion-mnist", (32, 32), "Ankle boot")
    assert np.array_equal(data.test.image(3)[..., 1], pixels[3])
    assert data.test.labels.tolist() == list(range(10)) * 2
    require_separate(data)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(mtime=0, data=b""),
        gzip.compress(mtime=0, data=b"\x00\x00\x08\x01" + bytes(12)),
        gzip.compress(mtime=0, data=IDX_IMAGES + struct.pack(">3I", 2, 2, 2) + bytes(7)),
        gzip.compress(mtime=0, data=IDX_IMAGES + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)),
        gzip.compress(mtime=0, data=IDX_IMAGES + struct.pack(">3I", 1, 1, 1) + b"x")[:-3],
    ],
)
def test_idx_file_is_refused_when_it_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "toy.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="toy.gz"):
        read_idx(path, IDX_IMAGES)


def test_imagenette_is_mapped_to_imagenet_when_it_is_in_the_cache(tmp_path: Path) -> None:
    number = 0
    for part, count in (("train", 10), ("val", 2)):
        for synset in IMAGENETTE:
            folder = tmp_path / "imagenette2-320/imagenette2-320" / part / synset
            folder.mkdir(parents=True)
            for i in range(count):
                number += 1
                pixels = np.random.default_rng(number).integers(0, 256, (100, 130, 3), dtype=np.uint8)
                PIL.Image.fromarray(pixels).save(folder / f"{synset}_{i}.JPEG")
    data = load("imagenette", cache=tmp_path)
    assert (data.name, data.spec, data.input_size) == ("imagenette", "imagenette", (224, 224))
    assert data.class_map == (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
    assert {name: len(split) for name, split in data.parts.items()} == {
        "train": 81,
        "calibration": 9,
        "validation": 10,
        "test": 20,
    }


@pytest.mark.parametrize("spec", ["imagenette", "cifar10", "fashion-mnist"])
def test_published_data_times_out_when_the_network_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(published, "FASHION_DEBIAN", tmp_path / "none")
        began = time.monotonic()
        with pytest.raises(DataError, match="no answer within 0.3 s"):
            load(spec, cache=tmp_path, timeout_s=0.3)
        assert time.monotonic() - began < 3
