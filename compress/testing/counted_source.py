"""Images that count how often they leave their source, whichever way."""

from __future__ import annotations

import threading

from certify.data.dataset import Split
from certify.data.sources import Image


class CountedSource:
    """The images of a split as a source of their own.

    Attributes:
        reads: images that were read, one that was read twice counted twice.
    """

    def __init__(self, given: Split) -> None:
        self.reads = 0
        self._given, self._lock = given, threading.Lock()

    def split(self) -> Split:
        """A split of this source."""
        return Split(self, self._given.labels)

    def size(self, row: int) -> tuple[int, ...]:
        """(H, W) of an image."""
        return self._given.size(row)

    def digest(self, row: int) -> str:
        """Hex SHA-256 of an image."""
        return self._given.digest(row)

    def image(self, row: int) -> Image:
        """One image: uint8 (H, W, 3), RGB."""
        with self._lock:
            self.reads += 1
        return self._given.image(row)
