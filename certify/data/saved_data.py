"""Saving the test part of in-memory data, so that an auditor can measure on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import DataError
from certify.core.files import replacing
from certify.data.arrays import FEATURES, array_split
from certify.data.dataset import Dataset, Split
from certify.data.groups import GROUP

KEPT_NAME = "test-data.npz"


def keep_test_part(dataset: Dataset, folder: Path) -> str:
    """Write the test part to ``test-data.npz`` in a folder.

    Args:
        dataset: arrays, or images that were given as arrays.
        folder: existing folder.

    Returns:
        A sentence with the specification that an auditor passes to read the same samples, digests and labels.

    Raises:
        DataError: the samples are in files of their own, or do not fit into one array.
        NotPermittedError: the use policy of the data does not permit sharing them.

    Example:
        >>> from certify.data import load
        >>> keep_test_part(load("npz:test=photos.npz"), Path("out"))
        'The test part was saved: an auditor reads it with --data npz:test=out/test-data.npz.'
    """
    test, path = dataset.test, folder / KEPT_NAME
    # Saving counts as sharing, even if the file stays on this machine.
    if test.guard is not None:
        test.guard.require("share", "test")
    arrays, scheme = (_fields(test), "arrays") if test.kind == "arrays" else ({"x": _pixels(dataset)}, "npz")
    y: Any = test.labels if test.targets is None else test.targets.values[test.labels]
    names: dict[str, Any] = {} if test.targets is not None else {"classes": np.array(dataset.classes)}
    names |= {f"{GROUP}{name}": values for name, values in test.groups.items()}
    names |= {FEATURES: np.array(test.features)} if test.features else {}
    with replacing(path) as written, written.open("wb") as stream:
        np.savez(stream, **{**arrays, **names, "y": y})
    return f"The test part was saved: an auditor reads it with --data {scheme}:test={path}."


def _fields(split: Split) -> dict[str, Any]:
    if reserved := {"y", "classes", "file", FEATURES} & set(split.fields):
        raise DataError(f"The array name '{sorted(reserved)[0]}' is reserved in npz files; rename the array.")
    samples = [split.arrays(i) for i in range(len(split))]
    return {name: np.stack([sample[name] for sample in samples]) for name in split.fields}


def _pixels(dataset: Dataset) -> Any:
    """Return images as the array that reproduces their digests; grey images with one channel."""
    split = dataset.test
    if split.kind == "image" and len({split.size(i) for i in range(len(split))}) == 1:
        whole = np.stack([split.image(i) for i in range(len(split))])
        for pixels in (whole, whole[..., 0]):
            # Use the form whose digests match, because grey images are digested with one channel.
            if array_split(pixels, split.labels, dataset.name).digests() == split.digests():
                return pixels
    raise DataError(
        f"Data '{dataset.name}' cannot be saved as one array; give the auditor the files that '{dataset.spec}' names."
    )
