"""Data sets of image files, one folder per class."""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from certify.core.errors import DataError
from certify.core.files import sha256_file
from certify.core.progress import Progress
from certify.data.dataset import Dataset, Split, input_size
from certify.data.groups import metadata_groups
from certify.data.partition import CUT, complete, cut
from certify.data.sources import Image

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = frozenset(
    {".jpg", ".jpe", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".webp"}
)
UNREAD = frozenset({".arw", ".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".psd", ".svg", ".tga"})
"""Image formats that are refused, so that no image of a class is left out unnoticed."""
PART_FOLDERS = ("train", "val", "test")
PART_NAMES = {
    **{name: name for name in PART_FOLDERS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
"""Names that people give to the folders of parts, in any case."""
AT_ONCE = 64
"""Images that a thread reads between two updates of the progress bar."""
WIDE_MODES = ("I", "F")
"""Prefixes of Pillow's modes with more than 8 bits per channel; converting them to RGB silently clips to white."""

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)
"""Errors that Pillow's decoders raise for damaged files (SyntaxError for a broken PNG or TIFF)."""

IMAGENETTE = {
    "n01440764": ("tench", 0),
    "n02102040": ("English springer", 217),
    "n02979186": ("cassette player", 482),
    "n03000684": ("chain saw", 491),
    "n03028079": ("church", 497),
    "n03394916": ("French horn", 566),
    "n03417042": ("garbage truck", 569),
    "n03425413": ("gas pump", 571),
    "n03445777": ("golf ball", 574),
    "n03888257": ("parachute", 701),
}
"""Imagenette's ten synsets: name, and column among the outputs of an ImageNet-1000 classifier.

https://github.com/fastai/imagenette; the columns follow the sorted synsets of ILSVRC 2012.
"""


class FileSource:
    """Image files, decoded on demand; the EXIF orientation is not applied."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._digests: dict[int, str] = {}

    def place(self, row: int) -> str:
        """Return the path of the file."""
        return str(self._paths[row])

    def image(self, row: int) -> Image:
        """Return the image as uint8 (H, W, 3), RGB; transparency is dropped.

        Raises:
            DataError: the file cannot be decoded, or has more than 8 bits per channel.
        """
        with self._opened(row) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)

    def size(self, row: int) -> tuple[int, int]:
        """Return (H, W) from the file's header."""
        with self._opened(row) as image:
            return image.height, image.width

    @contextlib.contextmanager
    def _opened(self, row: int) -> Iterator[PIL.Image.Image]:
        """Open an image file; any error of its decoder becomes a DataError."""
        import PIL.Image  # in the extra 'measure': a referee who only verifies decodes no images

        path = self._paths[row]
        try:
            with PIL.Image.open(path) as image:
                # Checked before pixels are read, because converting would clip silently.
                self._require_8_bits(path, image.mode)
                yield image
        except (*DECODE_ERRORS, PIL.Image.DecompressionBombError) as error:
            raise _undecodable(path, error) from error

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of the file's bytes."""
        if row not in self._digests:
            self._digests[row] = sha256_file(self._paths[row])
        return self._digests[row]

    @staticmethod
    def _require_8_bits(path: Path, mode: str) -> None:
        if mode.startswith(WIDE_MODES):
            raise DataError(f"{path} has more than 8 bits per channel (mode {mode}); convert it to an 8-bit image.")


def _undecodable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be decoded as an image ({error}); repair or remove it.")


def load_folder(
    root: Path, spec: str, seed: int, progress: Progress, name: str | None = None, published: bool = False
) -> Dataset:
    """Load ``imagefolder:PATH``: PATH/train, PATH/val and PATH/test, each with one folder per class.

    Without test/, val/ is the test part and validation is carved out of train. A folder with only val/ or test/ is a
    test set. A folder with none of the three, but one folder per class, is split 60/10/30, and a message says so.

    A ``metadata.csv`` in the folder of a part states the groups of its images (see
    :func:`certify.data.groups.metadata_groups`).

    If all folders are named after Imagenette's synsets, the classes are named and mapped to ImageNet's columns.

    Args:
        root: the folder.
        spec: specification that was given.
        seed: seed of the splits.
        progress: display of the progress.
        name: name of the data set; the folder's name if None.
        published: see :func:`certify.data.partition.complete`.

    Raises:
        DataError: a missing folder, fewer than two classes, a class without images, or an empty or undecodable file.
    """
    if not root.is_dir():
        raise DataError(
            f"{root}: folder not found; give a folder with train/ and val/, each with one folder per class."
        )
    _require_part_folders(root)
    folders = {part: root / part for part in PART_FOLDERS if (root / part).is_dir()}
    if "train" in folders and len(folders) == 1:
        raise DataError(f"{root}: has neither val/ nor test/; add one, with a folder of images for each class.")
    flat = not folders
    if flat and any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
        raise DataError(
            f"{root}: holds images outside class folders; sort them into one folder per class, or make train/ and "
            "test/, each with one folder per class."
        )
    classes = _classes(folders.get("train", folders.get("test", folders.get("val", root))))
    splits = {part: _split(folder, classes) for part, folder in folders.items()} or {"test": _split(root, classes)}
    # Without a test part, `val` becomes the test part, because many published test sets have no labels.
    if "test" in splits and "val" in splits:
        splits["validation"] = splits.pop("val")
    elif "val" in splits:
        splits["test"] = splits.pop("val")
    # Digests are computed first, in threads, because every split compares them.
    _digest(splits, progress)
    if flat:
        splits = cut(splits["test"], seed)
        message = ", ".join(f"{len(split)} {part}" for part, split in splits.items())
        progress.say(f"{root} has neither train/ nor test/, so its images are split at random: {message}.")
    parts = complete(splits, seed, published=published)
    # Folders named after Imagenette's synsets map to columns of an ImageNet classifier.
    mapped = IMAGENETTE.keys() >= set(classes)
    return Dataset(
        name=name or root.resolve().name,
        spec=spec,
        classes=tuple(IMAGENETTE[c][0] for c in classes) if mapped else classes,
        train=parts.get("train"),
        calibration=parts.get("calibration"),
        validation=parts.get("validation"),
        test=parts["test"],
        input_size=input_size(parts.values()),
        class_map=tuple(IMAGENETTE[c][1] for c in classes) if mapped else None,
        set_aside=CUT if flat else tuple(parts.keys() & {"validation"} - splits.keys()),
    )


def _require_part_folders(root: Path) -> None:
    """Refuse parts with other names or inside the classes: they would be read as classes, or ignored.

    Raises:
        DataError: there are such folders.
    """
    found = _named_parts(root)
    if len(set(found.values())) > 1 and not found.keys() <= set(PART_FOLDERS):
        renamed = ", ".join(f"{name}/ to {part}/" for name, part in found.items() if name != part)
        raise DataError(f"{root}: parts must be called train/, val/ and test/; rename {renamed}.")
    for entry in root.iterdir() if not found else ():
        if entry.is_dir() and len(set((inner := _named_parts(entry)).values())) > 1:
            raise DataError(
                f"{entry}: has the folders {', '.join(inner)}; parts must contain the classes, as in "
                f"{root.name}/train/{entry.name}, and not the reverse."
            )


def _named_parts(folder: Path) -> dict[str, str]:
    """Return the part that each folder's name means, by name."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    return {name: PART_NAMES[name.lower()] for name in names if name.lower() in PART_NAMES}


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(classes) < 2:
        found = f"only the class '{classes[0]}'" if classes else "no classes"
        raise DataError(f"{folder} has {found}; a classifier needs at least two folders of images, one per class.")
    return classes


def _split(folder: Path, classes: tuple[str, ...]) -> Split:
    index = {name: label for label, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for name in _classes(folder):
        if name not in index:
            raise DataError(
                f"{folder / name}: the class '{name}' is not one of the {len(classes)} classes of the training part."
            )
        images = _images(folder / name)
        paths += images
        labels += [index[name]] * len(images)
    split = Split(FileSource(paths), labels)
    return split.grouped(groups) if (groups := metadata_groups(folder, paths)) else split


def image_files(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder, without hidden files and folders.

    Raises:
        DataError: an image has a format that is not read.
    """
    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES | UNREAD or any(name[0] == "." for name in path.relative_to(folder).parts):
            continue
        if suffix in UNREAD:
            raise DataError(f"{path}: {suffix} images are not read; convert it to PNG or JPEG, or remove it.")
        if path.is_file():
            yield path


def _images(folder: Path) -> list[Path]:
    images = sorted(image_files(folder))
    if not images:
        raise DataError(f"{folder}: contains no images ({', '.join(sorted(SUFFIXES))}); add some or remove the folder.")
    for image in images:
        if image.stat().st_size == 0:
            raise DataError(f"{image}: is an empty file; repair or remove it.")
    return images


def _digest(splits: dict[str, Split], progress: Progress) -> None:
    """Digest and decode all files with a progress bar; splitting and comparing need the digests.

    An image that cannot be decoded is found here, before any training or measurement. Decoders release the GIL, so
    several images are read at once.

    Raises:
        DataError: one cannot be decoded; the first is named.
    """

    def read(split: Split, rows: range) -> int:
        for i in rows:
            split.digest(i)
            split.image(i)
        return len(rows)

    with (
        progress.task("Reading images", total=sum(len(split) for split in splits.values())) as task,
        ThreadPoolExecutor() as pool,
    ):
        for split in splits.values():
            rows = range(len(split))
            for done in pool.map(read, itertools.repeat(split), (rows[k : k + AT_ONCE] for k in rows[::AT_ONCE])):
                task.advance(done)
