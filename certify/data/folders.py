"""Data sets that are folders of picture files, one folder a class."""

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
from certify.data.partition import complete, cut
from certify.data.sources import Image

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".webp"}
)
PART_FOLDERS = ("train", "val", "test")
AT_ONCE = 64
"""Pictures that a thread reads between two steps of the bar."""
WIDE_MODES = ("I", "F")
"""Pillow's modes of more than 8 bits a channel begin so; converting them to RGB clips to white without a word."""

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise for damaged files (SyntaxError is a broken PNG or TIFF)."""

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
    """Picture files, decoded when they are asked for; the orientation that EXIF states is not applied."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._digests: dict[int, str] = {}

    def image(self, row: int) -> Image:
        """The picture as uint8 (H, W, 3), RGB; transparency is dropped.

        Raises:
            DataError: the file does not decode, or has more than 8 bits a channel.
        """
        with self._opened(row) as image:
            return np.array(image.convert("RGB"), dtype=np.uint8)

    def size(self, row: int) -> tuple[int, int]:
        """(H, W) from the file's header."""
        with self._opened(row) as image:
            return image.height, image.width

    @contextlib.contextmanager
    def _opened(self, row: int) -> Iterator[PIL.Image.Image]:
        """An image file; whatever its decoder raises is a DataError."""
        import PIL.Image  # of the extra measure: a referee who only verifies decodes no image

        path = self._paths[row]
        try:
            with PIL.Image.open(path) as image:
                self._require_8_bits(path, image.mode)
                yield image
        except (*DECODE_ERRORS, PIL.Image.DecompressionBombError) as error:
            raise _undecodable(path, error) from error

    def digest(self, row: int) -> str:
        """Hex SHA-256 of the file's bytes."""
        if row not in self._digests:
            self._digests[row] = sha256_file(self._paths[row])
        return self._digests[row]

    @staticmethod
    def _require_8_bits(path: Path, mode: str) -> None:
        if mode.startswith(WIDE_MODES):
            raise DataError(f"{path}: has more than 8 bits a channel (mode {mode}); convert it to an 8-bit picture.")


def _undecodable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path}: does not decode as a picture ({error}); repair it or take it out.")


def load_folder(
    root: Path, spec: str, seed: int, progress: Progress, name: str | None = None, published: bool = False
) -> Dataset:
    """Load ``imagefolder:PATH``: PATH/train, PATH/val and PATH/test, each with one folder a class.

    Without test/, val/ is the test part and validation is carved out of train. Only val/ or test/: a data set to test
    on. None of the three, but one folder a class: it is cut 60/10/30, and a sentence says so.

    A ``metadata.csv`` in the folder of a part says which groups its images belong to (see
    :func:`certify.data.groups.metadata_groups`).

    Where all folders bear names of Imagenette's synsets, classes are named and mapped to ImageNet's columns.

    Args:
        root: the folder.
        spec: that was asked for.
        seed: of the cuts.
        progress: where to say how far it is.
        name: of the data set; the folder's name where it is None.
        published: see :func:`certify.data.partition.complete`.

    Raises:
        DataError: a missing folder, one class or none, a class without pictures, an empty file, or one that does not
            decode.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; give one with train/ and val/, one folder a class in each.")
    folders = {part: root / part for part in PART_FOLDERS if (root / part).is_dir()}
    if "train" in folders and len(folders) == 1:
        raise DataError(f"{root}: has neither val/ nor test/; make one, with a folder of images for each class.")
    flat = not folders
    if flat and any(path.suffix.lower() in SUFFIXES for path in root.iterdir()):
        raise DataError(
            f"{root}: holds images that no folder gives a class; sort them into one folder a class, or make train/ and "
            "test/ with one folder a class in each."
        )
    classes = _classes(folders.get("train", folders.get("test", folders.get("val", root))))
    splits = {part: _split(folder, classes) for part, folder in folders.items()} or {"test": _split(root, classes)}
    if "test" in splits and "val" in splits:
        splits["validation"] = splits.pop("val")
    elif "val" in splits:
        splits["test"] = splits.pop("val")
    _digest(splits, progress)
    if flat:
        splits = cut(splits["test"], seed)
        told = ", ".join(f"{len(split)} {part}" for part, split in splits.items())
        progress.say(f"{root} has neither train/ nor test/, so its images are cut by chance: {told}.")
    parts = complete(splits, seed, published=published)
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
    )


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(classes) < 2:
        found = f"only the class '{classes[0]}'" if classes else "no class"
        raise DataError(f"{folder}: has {found}; a classifier needs two folders of pictures or more, one a class.")
    return classes


def _split(folder: Path, classes: tuple[str, ...]) -> Split:
    index = {name: label for label, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    for name in _classes(folder):
        if name not in index:
            raise DataError(
                f"{folder / name}: the class '{name}' is not among the {len(classes)} of the training part."
            )
        pictures = _pictures(folder / name)
        paths += pictures
        labels += [index[name]] * len(pictures)
    split = Split(FileSource(paths), labels)
    return split.grouped(groups) if (groups := metadata_groups(folder, paths)) else split


def _pictures(folder: Path) -> list[Path]:
    pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    if not pictures:
        raise DataError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))}); add some or remove the folder.")
    for picture in pictures:
        if picture.stat().st_size == 0:
            raise DataError(f"{picture}: is an empty file; repair it or take it out.")
    return pictures


def _digest(splits: dict[str, Split], progress: Progress) -> None:
    """Digest and decode all files under a bar: cutting and comparing need the digests, and reading takes time.

    A picture that does not decode is found here, before anything is trained or measured. Decoders release Python's
    lock, so that several pictures are read at once.

    Raises:
        DataError: one does not decode; the first is named.
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
