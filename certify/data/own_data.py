"""In-memory data: torch datasets and loaders, arrays and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from certify.core.errors import DataError
from certify.core.progress import Progress, Silent
from certify.core.suggest import unknown_name
from certify.data.arrays import PARTS, SAMPLES, from_parts, mapped_split
from certify.data.columns import COLUMNS, named_without, names_of, with_columns
from certify.data.dataset import Dataset, Split
from certify.data.groups import read_groups
from certify.data.named_arrays import ONLY, named_split, plain
from certify.data.own_samples import WANTED, gives_random, is_array, is_samples, own_split, pair_split
from certify.data.partition import CUT, cut
from certify.data.repeated_reads import require_fixed


def class_names(value: object) -> tuple[str, ...] | None:
    """Return the class names that a dataset, or a subset or loader of one, declares; None if it declares none."""
    while not isinstance(found := getattr(value, "classes", None), list | tuple):
        value = getattr(value, "dataset", None)
        if value is None:
            # Subsets and loaders wrap the dataset that names the classes.
            return None
    return tuple(map(str, found)) or None


def from_mapping(
    values: Mapping[str, Any], name: str, spec: str, seed: int, progress: Progress | None = None
) -> Dataset:
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
        progress: where to report a train part with random augmentation.

    Raises:
        DataError: a required entry is missing or malformed, or another part has random augmentation.
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
    given = {key: with_columns(values[key], common, where) for key in PARTS if values.get(key) is not None}
    if len(twice := [key for key in given if PARTS[key] == "validation"]) > 1:
        raise DataError(f"{where} have two validation parts, {' and '.join(twice)}; give one of them.")
    random = [PARTS[key] for key, value in given.items() if _is_random(value, f"{where}, {key}")]
    require_fixed(random, [PARTS[key] for key in given], where, progress or Silent())
    parts = {PARTS[key]: _part(value, f"{where}, {key}") for key, value in given.items()}
    named = (class_names(values[key]) for key in PARTS if values.get(key) is not None)
    return from_parts(name, spec, parts, classes or next(filter(None, named), None), seed)


def from_object(data: Any, spec: str, seed: int, progress: Progress | None = None) -> Dataset:
    """Make a data set from an in-memory object.

    Args:
        data: a Dataset of leanmark; a torch Dataset or DataLoader (split 60/10/30); (loader or dataset, transform); a
            pair (x, y) of arrays; (train, test); or a dict, see :func:`from_mapping`.
        spec: specification or description of what was given.
        seed: seed of the splits.
        progress: see :func:`from_mapping`.

    Raises:
        DataError: the object is none of these, or is not usable.
    """
    name = spec.rpartition(":")[2]
    if isinstance(data, Dataset):
        return replace(data, spec=spec)
    if isinstance(data, Mapping):
        return from_mapping(data, name, spec, seed, progress)
    if isinstance(data, tuple | list) and len(data) == 2 and all(_is_part(part) for part in data):
        return from_mapping(dict(zip(("train", "test"), data, strict=True)), name, spec, seed, progress)
    if not _is_part(data):
        raise DataError(f"Data '{spec}' is a {type(data).__name__}; {WANTED}.")
    where = f"Data '{spec}'"
    require_fixed(["test"] if _is_random(data, where) else [], (), where, Silent())
    split = _part(data, where)
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


def _is_random(value: Any, where: str) -> bool:
    """Return whether the samples of a part change at random."""
    pair = isinstance(value, tuple) and len(value) == 2 and _is_transformed(value)
    samples, transform = value if pair else (value, None)
    return not isinstance(samples, Split) and gives_random(samples, where, transform)


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
