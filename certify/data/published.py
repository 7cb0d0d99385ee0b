"""Published data sets that are downloaded on first use: Imagenette, CIFAR-10 and Fashion-MNIST."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from certify.core.errors import DataError
from certify.core.progress import Progress
from certify.data.arrays import array_split
from certify.data.dataset import Dataset, Split, input_size
from certify.data.downloads import TIMEOUT_S, Remote, fetch, fetch_archive
from certify.data.folders import load_folder
from certify.data.partition import complete
from certify.data.sources import Image

# Digest and size as in tensorflow/datasets (url_checksums/imagenette.txt).
IMAGENETTE_320 = Remote(
    "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
    "sha256:5020a9130cea0348272823cb12d2db7e981c6f2afa3dce71ccd5b8013005c55e",
    341_553_947,
)
IMAGENETTE_FOLDER = "imagenette2-320"

# Digest and size as in tensorflow/datasets (url_checksums/cifar10.txt). The binary version, since the other one is
# pickled.
CIFAR10 = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
)
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_SIDE = 32
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# MD5 as in the data set's own README (github.com/zalandoresearch/fashion-mnist).
FASHION_FILES = {
    "train": (
        Remote(FASHION_URL + "train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        Remote(FASHION_URL + "train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe", 29_515),
    ),
    "test": (
        Remote(FASHION_URL + "t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        Remote(FASHION_URL + "t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310", 5_148),
    ),
}
FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Folder in which Debian's package dataset-fashion-mnist installs the same four files, recompressed."""
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IDX_IMAGES = b"\x00\x00\x08\x03"
IDX_LABELS = b"\x00\x00\x08\x01"


def load_imagenette(cache: Path, seed: int, progress: Progress, timeout_s: float = TIMEOUT_S) -> Dataset:
    """Load ten easy classes of ImageNet, 320 pixels on the shorter side; 9,469 training and 3,925 test images."""
    folder = fetch_archive(IMAGENETTE_320, cache / IMAGENETTE_FOLDER, progress, timeout_s)
    root = folder / IMAGENETTE_FOLDER
    return load_folder(root, "imagenette", seed, progress, name="imagenette", published=True)


def load_cifar10(cache: Path, seed: int, progress: Progress, timeout_s: float = TIMEOUT_S) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test colour images of 32 x 32 pixels."""
    folder = fetch_archive(CIFAR10, cache / CIFAR10_FOLDER, progress, timeout_s) / CIFAR10_FOLDER
    parts = {"train": _cifar10_split(folder, CIFAR10_TRAIN), "test": _cifar10_split(folder, CIFAR10_TEST)}
    return _published("cifar10", CIFAR10_CLASSES, parts, seed)


def _cifar10_split(folder: Path, names: tuple[str, ...]) -> Split:
    """Read batches of records: one label byte, then the red, green and blue planes, row by row.

    https://www.cs.toronto.edu/~kriz/cifar.html
    """
    record = 1 + 3 * CIFAR10_SIDE**2
    batches = []
    for name in names:
        content = _read(folder / name)
        if not content or len(content) % record:
            raise DataError(f"{folder / name}: is not a CIFAR-10 batch; delete {folder.parent} to download it again.")
        batches.append(np.frombuffer(content, dtype=np.uint8).reshape(-1, record))
    rows = np.concatenate(batches)
    pixels = rows[:, 1:].reshape(-1, 3, CIFAR10_SIDE, CIFAR10_SIDE).transpose(0, 2, 3, 1)
    return array_split(pixels, rows[:, 0], str(folder))


def load_fashion_mnist(
    cache: Path, seed: int, progress: Progress, timeout_s: float = TIMEOUT_S, debian: Path | None = None
) -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 test grey images of 28 x 28 pixels.

    The files are read from the folder ``debian`` (of Debian's package dataset-fashion-mnist) if all four exist there.
    """
    packaged = debian or FASHION_DEBIAN
    # All four files or none, so that packaged and downloaded files are never mixed.
    local = all((packaged / remote.name).is_file() for pair in FASHION_FILES.values() for remote in pair)
    folder = packaged if local else cache / "fashion-mnist"
    parts = {}
    for part, (images, labels) in FASHION_FILES.items():
        for remote in () if local else (images, labels):
            fetch(remote, folder / remote.name, progress, timeout_s)
        pixels = read_idx(folder / images.name, IDX_IMAGES)
        parts[part] = array_split(pixels, read_idx(folder / labels.name, IDX_LABELS), str(folder / images.name))
    return _published("fashion-mnist", FASHION_CLASSES, parts, seed)


def read_idx(path: Path, magic: bytes) -> Image:
    """Read a gzipped IDX file of unsigned bytes: magic number, big-endian sizes, then the values.

    The last byte of the magic number counts the dimensions (http://yann.lecun.com/exdb/mnist/).

    Raises:
        DataError: the file is damaged or has another format.
    """
    try:
        content = gzip.decompress(_read(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and try again.") from error
    # The magic number's last byte is the number of dimensions.
    start = 4 + 4 * magic[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4")) if len(content) >= start else ()
    # Computed in Python integers, because a damaged header could overflow 64 bits.
    if content[:4] != magic or len(content) - start != int(np.prod(shape, dtype=object)):
        raise DataError(f"{path} is not an IDX file of unsigned bytes; delete it and try again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error


def _published(name: str, classes: tuple[str, ...], parts: dict[str, Split], seed: int) -> Dataset:
    whole = complete(parts, seed, published=True)
    return Dataset(
        name=name,
        spec=name,
        classes=classes,
        train=whole["train"],
        calibration=whole["calibration"],
        validation=whole["validation"],
        test=whole["test"],
        input_size=input_size(whole.values()),
    )
