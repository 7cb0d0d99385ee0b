"""Samples of torch datasets and loaders, recognised by duck typing.

torch is not imported: a dataset has ``__len__`` and ``__getitem__``; a loader yields batches and has a ``dataset`` and
a ``batch_size``. Everything is read once and kept in memory.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.callables import FOREIGN_FAILURES
from certify.core.errors import DataError, LeanmarkError
from certify.data.arrays import ArraySource, samples_split
from certify.data.dataset import Split
from certify.data.folders import WIDE_MODES
from certify.data.labels import read_labels
from certify.data.named_arrays import ONLY, named_split, plain
from certify.data.repeated_reads import is_random

LABELS = ("y", "label", "labels", "target", "targets")
"""Keys of the label in a sample that is a mapping."""
KEPT_BYTES = 16 << 30
"""Largest amount of data read into memory."""
WANTED = (
    "give a torch Dataset (map-style) or DataLoader, a pair (x, y) of arrays, a pair (train, test), or a dict of "
    "parts; samples must be pairs (sample, label)"
)

Array = npt.NDArray[Any]


def is_array(value: object) -> bool:
    """Return whether a value is a NumPy array, a torch tensor, a table of pandas or similar."""
    typed = hasattr(value, "dtype") or hasattr(value, "to_numpy")
    return hasattr(value, "__array__") and hasattr(value, "shape") and typed


def is_loader(value: object) -> bool:
    """Return whether a value is a torch DataLoader or similar, which yields batches rather than samples."""
    return hasattr(value, "__iter__") and hasattr(value, "dataset") and hasattr(value, "batch_size")


def is_samples(value: object) -> bool:
    """Return whether a value is a loader, or a dataset whose samples have indices."""
    mapped = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return is_loader(value) or (mapped and not isinstance(value, str | bytes | Mapping | tuple) and not is_array(value))


def own_split(given: Any, where: str, transform: Callable[[Any], Any] | None = None) -> Split:
    """Read a dataset or a loader.

    Args:
        given: a dataset or loader. Its samples are pairs (sample, label), tuples of inputs and the label, or mappings
            with a label; a sample is a PIL image, an array or tensor, or a mapping of arrays by name.
        where: name used in errors.
        transform: function from each batch of a loader, or each sample of a dataset, to such a pair.

    Raises:
        DataError: it yields anything else, fails, or is too large for memory.
    """
    with _explained(given, where):
        if is_loader(given) and (transform is not None or _collates(given)):
            return _from_batches(given, transform or (lambda batch: batch), where)
        samples = given.dataset if is_loader(given) else given
        rows = (samples[i] for i in (_chosen(given) if is_loader(given) else range(len(samples))))
        return _from_samples(map(transform, rows) if transform else rows, where)


@contextlib.contextmanager
def _explained(given: Any, where: str) -> Iterator[None]:
    """Turn errors of a third-party dataset into a DataError."""
    try:
        yield
    except LeanmarkError:
        raise
    except FOREIGN_FAILURES as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise DataError(f"{where}: {type(given).__name__} cannot be read ({message}); {WANTED}.") from error


def gives_random(given: Any, where: str, transform: Callable[[Any], Any] | None = None) -> bool:
    """Return whether a dataset or loader changes its samples at random; a stream is not read twice."""
    samples = given.dataset if is_loader(given) else given
    if not is_samples(given) or _is_stream(samples):
        return False
    batched = is_loader(given) and (transform is not None or _collates(given)) and hasattr(given, "collate_fn")

    def read(rows: Sequence[int]) -> list[dict[str, Array]]:
        found = [samples[row] for row in rows]
        if batched:
            found = [given.collate_fn(found) if getattr(given, "batch_sampler", None) else found[0]]
        pairs = [_pair(transform(copy.deepcopy(one)) if transform else one, where) for one in found]
        return [{"": plain(label), **_plain(named, where)} for named, label in pairs]

    with _explained(given, where):
        return is_random(read, len(samples))


def pair_split(x: Any, y: Any, where: str) -> Split:
    """Make a split from one array or named arrays, with labels; tensors are converted to arrays."""
    if isinstance(x, Mapping):
        return named_split({name: plain(value) for name, value in x.items()}, plain(y), where)
    return samples_split(plain(x), plain(y), where)


def _is_stream(samples: Any) -> bool:
    """Return whether samples have no indices; torch's IterableDataset inherits a method that only raises."""
    return not hasattr(samples, "__getitem__") or any(
        one.__name__ == "IterableDataset" for one in type(samples).__mro__
    )


def _collates(loader: Any) -> bool:
    """Return whether a loader has a custom collate function, so that only its batches define the samples."""
    usual = ("default_collate", "default_convert")  # the latter if the loader does not batch
    return _is_stream(loader.dataset) or getattr(getattr(loader, "collate_fn", None), "__name__", "") not in usual


def _chosen(loader: Any) -> Iterable[int]:
    """Return the sorted indices of the samples that a loader yields; all indices if its sampler draws at random."""
    batches, count = getattr(loader, "batch_sampler", None), len(loader.dataset)
    sampler = getattr(loader, "sampler", None) if batches is None else getattr(batches, "sampler", None)
    if batches is not None and sampler is None:
        sampler = itertools.chain.from_iterable(batches)
    if sampler is None or hasattr(sampler, "replacement"):
        return range(count)
    return sorted({int(index) for index in itertools.islice(sampler, count)})  # some samplers never end


def _from_batches(loader: Iterable[Any], transform: Callable[[Any], Any], where: str) -> Split:
    """Read batches whose arrays hold the samples along the first axis."""
    inputs, labels, size = list[dict[str, Array]](), list[Array](), 0
    for batch in loader:
        named, label = _pair(transform(batch), where)
        inputs.append({name: plain(value) for name, value in named.items()})
        labels.append(np.atleast_1d(plain(label)))
        size = _within(size + sum(value.nbytes for value in inputs[-1].values()), where)
    whole = {name: np.concatenate([one[name] for one in inputs]) for name in (inputs[0] if inputs else {})}
    return _together(whole, np.concatenate(labels) if labels else np.empty(0, int), where)


def _from_samples(rows: Iterator[Any], where: str) -> Split:
    inputs, labels, size = list[dict[str, Array]](), list[Array](), 0
    images = False
    for row in rows:
        named, label = _pair(row, where)
        images = images or any(_is_pil(value) for value in named.values())
        inputs.append(_plain(named, where))
        labels.append(plain(label))
        size = _within(size + sum(value.nbytes for value in inputs[-1].values()), where)
    if len({label.shape for label in labels}) > 1:
        raise DataError(f"{where}: labels have several shapes; give one integer or one float per sample.")
    y = np.stack(labels) if labels else np.empty(0, int)
    if images and len(inputs[0]) == 1:
        truth, targets = read_labels(y, where)
        return Split(ArraySource([next(iter(one.values())) for one in inputs]), truth, targets=targets)
    shapes = {name: {one[name].shape for one in inputs} for name in (inputs[0] if inputs else {})}
    if uneven := [name for name, found in shapes.items() if len(found) > 1]:
        raise DataError(
            f"{where}: samples have several shapes ({' and '.join(map(str, sorted(shapes[uneven[0]])[:2]))}); resize "
            "them in the dataset's transform, or give PIL images."
        )
    return _together({name: np.stack([one[name] for one in inputs]) for name in shapes}, y, where)


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


def _plain(named: Mapping[str, Any], where: str) -> dict[str, Array]:
    return {name: _pixels(value, where) if _is_pil(value) else plain(value) for name, value in named.items()}


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
