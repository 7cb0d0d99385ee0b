"""Values of batches between two steps: in memory while they are few, else in temporary files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

MOST_BYTES = 256 * 1024**2
"""Maximum bytes of waiting values in memory; beyond that they go to temporary files."""

Key = TypeVar("Key")


class ArrayShelf(Generic[Key]):
    """Arrays of batches between two steps.

    Args:
        folder: folder for files of those that do not fit.
        most_bytes: maximum bytes in memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     shelf = ArrayShelf(Path(folder), most_bytes=8)
        ...     shelf.put(0, {"x": np.arange(4.0)})
        ...     shelf.bytes_held, shelf.take(0)["x"].tolist()
        (0, [0.0, 1.0, 2.0, 3.0])
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._values: dict[int, dict[Key, Any]] = {}
        self._sizes: dict[int, int] = {}

    @property
    def bytes_held(self) -> int:
        """Bytes currently in memory."""
        return sum(self._sizes.values())

    def put(self, batch: int, values: Mapping[Key, Any]) -> None:
        """Replace the values of a batch."""
        size = sum(getattr(value, "nbytes", 0) for value in values.values())
        # Release this batch's old values before the new ones are counted.
        self._values.pop(batch, None)
        self._sizes.pop(batch, None)
        if self.bytes_held + size <= self._most_bytes:
            self._values[batch], self._sizes[batch] = dict(values), size
            self._file(batch).unlink(missing_ok=True)
        else:
            self._save(list(values.values()), self._file(batch))
            # Keep the keys in order, because the file's arrays are assigned to them in order when they are read.
            self._values[batch] = dict.fromkeys(values)

    def take(self, batch: int) -> dict[Key, Any]:
        """Return the values of a batch, as a separate dict."""
        values = dict(self._values[batch])
        if batch not in self._sizes:
            values = dict(zip(values, self._load(self._file(batch)), strict=True))
        return values

    def _file(self, batch: int) -> Path:
        return self._folder / f"{batch}.values"

    def _save(self, values: list[Any], file: Path) -> None:
        with file.open("wb") as stream:
            np.savez(stream, **{str(number): value for number, value in enumerate(values)})

    def _load(self, file: Path) -> list[Any]:
        with np.load(file) as saved:
            return [saved[str(number)] for number in range(len(saved.files))]
