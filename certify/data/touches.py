"""Record of reads of the data: which part was read, and how; recorded by the data, not by their readers.

A privacy claim holds for a model only if every read of the private data is accounted for. So each watched
:class:`Split` records in a ledger when its samples or labels are read, either ``raw`` or under the name of a mechanism
that adds noise. Digests and lengths do not count as reads: they identify samples, and are kept out of public files if
the data are private.

A loader that is part of a mechanism reads through :meth:`Split.under`; everything else is raw. The ledger trusts such a
loader; whether noise was really added is for the audits to check.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.private_data import DataKey

RAW = "raw"
"""Kind of all reads outside a mechanism."""

Touched = Mapping[str, tuple[str, ...]]
"""Kinds of reads of each part, by its name; unread parts are absent."""

_open: list[Ledger] = []


class Ledger:
    """Record of all reads of the watched data; safe for concurrent threads.

    Args:
        key: data key for the identifiers of data that are loaded while the ledger is open; None for plain digests.

    Example:
        >>> ledger = Ledger()
        >>> before = ledger.mark()
        >>> ledger.note("train", RAW, 32)
        >>> ledger.since(before)
        {'train': ('raw',)}
    """

    def __init__(self, key: DataKey | None = None) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._touches: Counter[tuple[str, str]] = Counter()
        self._samples: Counter[str] = Counter()

    def note(self, part: str, how: str, samples: int) -> None:
        """Record that a part was read.

        Args:
            part: name of the part.
            how: ``raw``, or the name of a mechanism.
            samples: number of samples read; 0 for labels.
        """
        with self._lock:
            self._touches[part, how] += 1
            self._samples[part] += samples

    def mark(self) -> Mapping[tuple[str, str], int]:
        """Return the current position of the ledger, for :meth:`since`."""
        with self._lock:
            return dict(self._touches)

    def since(self, mark: Mapping[tuple[str, str], int]) -> dict[str, tuple[str, ...]]:
        """Return the kinds of reads of each part after a mark."""
        found: dict[str, list[str]] = {}
        for (part, how), count in sorted(self.mark().items()):
            if count > mark.get((part, how), 0):
                found.setdefault(part, []).append(how)
        return {part: tuple(hows) for part, hows in found.items()}

    def samples(self, part: str) -> int:
        """Return how many samples of a part were read; repeated reads count each time."""
        with self._lock:
            return self._samples[part]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Also watch all data that are loaded within this context (:func:`certify.data.load`)."""
        _open.append(self)
        try:
            yield
        finally:
            _open.remove(self)

    # A lock cannot be pickled; workers get a ledger with a new lock.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())


def open_ledger() -> Ledger | None:
    """Return the ledger that watches newly loaded data, or None."""
    return _open[-1] if _open else None


@dataclass(frozen=True)
class Watch:
    """Recorder of the reads of one part.

    Attributes:
        ledger: ledger that records the reads.
        part: name of the part.
        how: ``raw``, or the name of the mechanism that reads.
    """

    ledger: Ledger
    part: str
    how: str = RAW

    def note(self, samples: int = 0) -> None:
        """Record a read."""
        self.ledger.note(self.part, self.how, samples)


def joined(*touched: Touched | None) -> dict[str, list[str]] | None:
    """Merge the reads of several steps, as JSON values; None if those of any step are unknown.

    Example:
        >>> joined({"train": ("raw",)}, {"train": ("dp-sgd#0",), "validation": ("raw",)})
        {'train': ['dp-sgd#0', 'raw'], 'validation': ['raw']}
    """
    found: dict[str, set[str]] = {}
    for reads in touched:
        # If some reads are unknown, the total is unknown too.
        if reads is None:
            return None
        for part, hows in reads.items():
            found.setdefault(part, set()).update(hows)
    return {part: sorted(hows) for part, hows in sorted(found.items())}
