"""In-memory data: torch datasets and loaders, arrays and tensors, recognised by duck typing.

torch is not imported: a dataset has ``__len__`` and ``__getitem__``; a loader yields batches and has a ``dataset`` and
a ``batch_size``. Everything is read once and kept in memory, so a sample stays the same even if a random transform made
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.suggest import unknown_name
from certify.data.arrays import PARTS, SAMPLES, ArraySource, from_parts, mapped_split, samples_split
from certify.data.columns import COLUMNS, named_without, names_of, with_columns
from certify.data.dataset import Dataset, Split
from certify.data.folders import WIDE_MODES
from certify.data.groups import read_groups
from certify.data.labels import read_labels
from certify.data.named_arrays import ONLY, named_split, plain
from certify.data.partition import CUT, cut

LABELS = ("y", "label", "labels", "target", "targets")
"""Keys under which a sample that is a mapping may hold its label."""
KEPT_BYTES = 16 << 30
"""Largest amount of data read into memory."""
FAILURES = (ArithmeticError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, TypeError,
            ValueError)  # fmt: skip
"""Errors that a third-party dataset may raise."""
WANTED = (
    "give a torch Dataset (map-style) or DataLoader, a pair (x, y) of arrays, a pair (train, test), or a dict of "
    "parts; samples must be pairs (sample, label)"
)

Array = npt.NDArray[Any]


def is_array(value: object) -> bool:
    """Return whether a value is a NumPy array, a torch tensor or similar."""
    return hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype")


def is_loader(value: object) -> bool:
    """Return whether a value is a torch DataLoader or similar, which yields batches rather than samples."""
    return hasattr(value, "__iter__") and hasattr(value, "dataset") and hasattr(value, "batch_size")


def is_samples(value: object) -> bool:
    """Return whether a value is a loader, or a dataset whose samples have indices."""
    mapped = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return is_loader(value) or (mapped and not isinstance(value, str | bytes | Mapping | tuple) and not is_array(value))


def class_names(value: object) -> tuple[str, ...] | None:
    """Return the class names that a dataset, or a subset or loader of one, declares; None if it declares none."""
    while not isinstance(found := getattr(value, "classes", None), list | tuple):
        value = getattr(value, "dataset", None)
        if value is None:
            # Subsets and loaders wrap the dataset that names the classes.
            return None
    return tuple(map(str, found)) or None


def own_split(source: Any, where: str, transform: Callable[[Any], Any] | None = None) -> Split:
    """Read a dataset or a loader.

    Args:
        source: a dataset or loader. Its samples are pairs (sample, label), tuples of inputs and the label, or mappings
            with a label; a sample is a PIL image, an array or tensor, or a mapping of arrays by name.
        where: name used in errors.
        transform: function from each batch of a loader, or each sample of a dataset, to such a pair.

    Raises:
        DataError: it yields anything else, fails, or is too large for memory.
    """
    try:
        if is_loader(source) and (transform is not None or _collates(source)):
            # A custom collate function may combine samples, so only its batches are what the model sees.
            return _from_batches(source, transform or (lambda batch: batch), where)
        samples = source.dataset if is_loader(source) else source
        rows = iter(samples) if not hasattr(samples, "__getitem__") else (samples[i] for i in range(len(samples)))
        return _from_samples(map(transform, rows) if transform else rows, where)
    except DataError:
        raise
    except FAILURES as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise DataError(f"{where}: {type(source).__name__} cannot be read ({message}); {WANTED}.") from error


def from_mapping(values: Mapping[str, Any], name: str, spec: str, seed: int) -> Dataset:
    """Make a data set from a dict of parts or arrays.

    Args:
        values: ``x`` (or ``input_ids`` and its like), ``y`` and optionally ``groups``, a dict of group columns by name
            (see :mod:`certify.data.groups`), split like an npz file; or ``test`` and optionally ``train``,
            ``validation``, ``calibration``, each a Split, a torch Dataset or DataLoader, a pair (x, y) or a dict with
            ``x`` (or ``input_ids``), ``y`` and optionally ``groups``. In either case ``classes`` may name the classes,
            ``features`` the columns of ``x``, and ``drop`` those that are left out of the inputs.
            ``x`` is an array of images (uint8), an array of anything else, or a dict of arrays by the names of the
            model's inputs.
        name: name of the data set.
        spec: specification that was given.
        seed: seed of the splits.

    Raises:
        DataError: a required entry is missing or malformed.
        UsageError: an unknown key.
    """
    where = f"Data '{spec}'"
    known, common = [*SAMPLES, "classes", "groups", *COLUMNS, *PARTS], {k: values[k] for k in COLUMNS if k in values}
    for key in values:
        if key not in known:
            raise unknown_name(f"key of data {spec}", str(key), known)
    name = named_without(name, names_of(common, "drop"))
    classes = None if values.get("classes") is None else tuple(str(c) for c in values["classes"])
    if ("x" in values or "input_ids" in values) and "y" in values:
        return from_parts(name, spec, cut(_grouped(_split(values, where), values, where), seed), classes, seed, CUT)
    if "test" not in values:
        raise DataError(f"{where} have no test part; give x and y, or test (and train), or a Dataset.")
    by_part = {key: with_columns(values[key], common, where) for key in PARTS if values.get(key) is not None}
    parts = {PARTS[key]: _part(value, f"{where}, {key}") for key, value in by_part.items()}
    named = (class_names(values[key]) for key in PARTS if values.get(key) is not None)
    return from_parts(name, spec, parts, classes or next(filter(None, named), None), seed)


def from_object(data: Any, spec: str, seed: int) -> Dataset:
    """Make a data set from an in-memory object.

    Args:
        data: a Dataset of leanmark; a torch Dataset or DataLoader (split 60/10/30); (loader or dataset, transform); a
            pair (x, y) of arrays; (train, test); or a dict, see :func:`from_mapping`.
        spec: specification or description of what was given.
        seed: seed of the splits.

    Raises:
        DataError: the object is none of these, or is not usable.
    """
    name = spec.rpartition(":")[2]
    if isinstance(data, Dataset):
        return replace(data, spec=spec)
    if isinstance(data, Mapping):
        return from_mapping(data, name, spec, seed)
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_part(part) for part in data):
        return from_mapping(dict(zip(("train", "test"), data, strict=True)), name, spec, seed)
    if not _is_part(data):
        raise DataError(f"Data '{spec}' is a {type(data).__name__}; {WANTED}.")
    split = _part(data, f"Data '{spec}'")
    return from_parts(name, spec, cut(split, seed), class_names(data), seed, CUT)


def _is_part(value: Any) -> bool:
    """Return whether labelled samples can be read from a value."""
    pair = isinstance(value, tuple | list) and len(value) == 2
    # A dataset with a transform is a pair too, hence both tests.
    return isinstance(value, Split) or is_samples(value) or (pair and (_is_arrays(value) or _is_transformed(value)))


def _is_arrays(pair: Any) -> bool:
    x, y = pair
    return is_array(y) and (is_array(x) or isinstance(x, Mapping))


def _is_transformed(pair: Any) -> bool:
    samples, transform = pair
    return is_samples(samples) and callable(transform) and not is_samples(transform)


def _part(value: Any, where: str) -> Split:
    if isinstance(value, Split):
        return value
    known = {*SAMPLES, *COLUMNS, "groups"}
    if isinstance(value, Mapping) and {"y"} < set(value) <= known and {"x", "input_ids"} & set(value):
        return _grouped(_split(value, where), value, where)
    if isinstance(value, tuple | list) and len(value) == 2:
        if _is_transformed(value):
            return own_split(value[0], where, value[1])
        if isinstance(value, tuple) and not is_samples(value[0]):
            return pair_split(value[0], value[1], where)
    if is_samples(value):
        return own_split(value, where)
    raise DataError(f"{where} is a {type(value).__name__}; give a Split, a torch Dataset or DataLoader, or (x, y).")


def _split(values: Mapping[str, Any], where: str) -> Split:
    """Make a split from a dict with ``x`` or ``input_ids``, and ``y``."""
    if "input_ids" in values and not set(COLUMNS) & set(values):
        return mapped_split(values, where)
    if set(COLUMNS) & set(values):
        x = values["x"] if isinstance(values["x"], Mapping) else {ONLY: values["x"]}
        columns = (names_of(values, key) for key in COLUMNS)
        return named_split({name: plain(value) for name, value in x.items()}, plain(values["y"]), where, *columns)
    return pair_split(values["x"], values["y"], where)


def _grouped(split: Split, values: Mapping[str, Any], where: str) -> Split:
    """Add the group columns, if given, to a split."""
    columns = values.get("groups")
    if columns is None:
        return split
    if not isinstance(columns, Mapping):
        raise DataError(f"{where}: 'groups' is a {type(columns).__name__}; give a dict of columns by name.")
    return split.grouped(read_groups({str(name): plain(column) for name, column in columns.items()}, len(split), where))


def pair_split(x: Any, y: Any, where: str) -> Split:
    """Make a split from one array or named arrays, with labels; tensors are converted to arrays."""
    if isinstance(x, Mapping):
        return named_split({name: plain(value) for name, value in x.items()}, plain(y), where)
    return samples_split(plain(x), plain(y), where)


def _collates(loader: Any) -> bool:
    """Return whether a loader has a custom collate function, so that only its batches define the samples."""
    collate = getattr(loader, "collate_fn", None)
    return not hasattr(loader.dataset, "__getitem__") or getattr(collate, "__name__", "") != "default_collate"


def _from_batches(loader: Iterable[Any], transform: Callable[[Any], Any], where: str) -> Split:
    """Read batches whose arrays hold the samples along the first axis."""
    inputs, labels, size = list[dict[str, Array]](), list[Array](), 0
    for batch in loader:
        named, label = _pair(transform(batch), where)
        inputs.append({name: plain(value) for name, value in named.items()})
        labels.append(np.atleast_1d(plain(label)))
        size = _within(size + sum(value.nbytes for value in inputs[-1].values()), where)
    whole = {name: np.concatenate([sample[name] for sample in inputs]) for name in (inputs[0] if inputs else {})}
    return _together(whole, np.concatenate(labels) if labels else np.empty(0, int), where)


def _from_samples(rows: Iterator[Any], where: str) -> Split:
    inputs, labels, size = list[dict[str, Array]](), list[Array](), 0
    images = False
    for row in rows:
        named, label = _pair(row, where)
        images = images or any(_is_pil(value) for value in named.values())
        inputs.append(
            {name: _pixels(value, where) if _is_pil(value) else plain(value) for name, value in named.items()}
        )
        labels.append(plain(label))
        size = _within(size + sum(value.nbytes for value in inputs[-1].values()), where)
    if len({label.shape for label in labels}) > 1:
        raise DataError(f"{where}: labels have several shapes; give one integer or one float per sample.")
    y = np.stack(labels) if labels else np.empty(0, int)
    if images and len(inputs[0]) == 1:
        truth, targets = read_labels(y, where)
        return Split(ArraySource([next(iter(sample.values())) for sample in inputs]), truth, targets=targets)
    shapes = {name: {sample[name].shape for sample in inputs} for name in (inputs[0] if inputs else {})}
    if uneven := [name for name, found in shapes.items() if len(found) > 1]:
        raise DataError(
            f"{where}: samples have several shapes ({' and '.join(map(str, sorted(shapes[uneven[0]])[:2]))}); resize "
            "them in the dataset's transform, or give PIL images."
        )
    return _together({name: np.stack([sample[name] for sample in inputs]) for name in shapes}, y, where)


def _together(whole: Mapping[str, Array], y: Array, where: str) -> Split:
    return pair_split(next(iter(whole.values())) if len(whole) == 1 else whole, y, where)


def _pair(row: Any, where: str) -> tuple[dict[str, Any], Any]:
    """Return the inputs by name, and the label."""
    if isinstance(row, Mapping):
        label = next((name for name in LABELS if name in row), None)
        if label is not None and len(row) > 1:
            return {str(name): value for name, value in row.items() if name != label}, row[label]
    elif isinstance(row, Sequence) and not isinstance(row, str | bytes) and len(row) > 1:
        *inputs, label = row
        if len(inputs) > 1:
            return {f"{ONLY}{number}": value for number, value in enumerate(inputs)}, label
        return (
            {str(k): v for k, v in inputs[0].items()} if isinstance(inputs[0], Mapping) else {ONLY: inputs[0]}
        ), label
    raise DataError(f"{where}: a sample is a {type(row).__name__} without a label; {WANTED}.")


def _is_pil(value: object) -> bool:
    return hasattr(value, "convert") and hasattr(value, "mode")


def _pixels(image: Any, where: str) -> Array:
    if image.mode.startswith(WIDE_MODES):
        raise DataError(
            f"{where}: an image has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits."
        )
    return np.asarray(image if image.mode == "L" else image.convert("RGB"), dtype=np.uint8)


def _within(size: int, where: str) -> int:
    if size > KEPT_BYTES:
        raise DataError(
            f"{where}: holds more than {KEPT_BYTES >> 30} GB, the most that is kept in memory; give the files "
            "themselves (imagefolder:PATH, npz:PATH or arrays:PATH), or a subset of the data."
        )
    return size
