"""Images that count how often they are read, in any way."""

from __future__ import annotations

import threading

from certify.data.dataset import Split
from certify.data.sources import Image


class CountedSource:
    """The images of a split as a separate source.

    Attributes:
        reads: number of image reads, repeated ones included.
    """

    def __init__(self, original: Split) -> None:
        self.reads = 0
        self._split, self._lock = original, threading.Lock()

    def split(self) -> Split:
        """Return a split of this source."""
        return Split(self, self._split.labels)

    def size(self, row: int) -> tuple[int, ...]:
        """Return (H, W) of an image."""
        return self._split.size(row)

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of an image."""
        return self._split.digest(row)

    def image(self, row: int) -> Image:
        """Return one image: uint8 (H, W, 3), RGB."""
        with self._lock:
            self.reads += 1
        return self._split.image(row)
