"""Who read which part of a data set, and how: noted where samples are read, not by those who read them.

A privacy claim holds for a model only if every reading of the private data is accounted for. So each :class:`Split`
that is watched notes on a ledger that its samples or labels were read, ``raw`` or under the name of a mechanism that
adds noise. Digests and lengths are not touches: they identify samples, and stay out of public files where data are
private.

A loader that is part of a mechanism reads through :meth:`Split.under`; everything else is raw. The ledger believes such
a loader: that noise was really added, the audits ask.
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
"""How data are read by whatever is not a mechanism."""

Touched = Mapping[str, tuple[str, ...]]
"""How each part was read, by its name; a part that was not read is absent."""

_open: list[Ledger] = []


class Ledger:
    """All readings of the data that are watched, from however many threads.

    Args:
        key: that identifiers of data are made with which are loaded while the ledger is open; None for plain digests.

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
        """Note that a part was read.

        Args:
            part: name of the part.
            how: ``raw``, or the name of a mechanism.
            samples: number of samples that were read; 0 for labels.
        """
        with self._lock:
            self._touches[part, how] += 1
            self._samples[part] += samples

    def mark(self) -> Mapping[tuple[str, str], int]:
        """How far the ledger is, for :meth:`since`."""
        with self._lock:
            return dict(self._touches)

    def since(self, mark: Mapping[tuple[str, str], int]) -> dict[str, tuple[str, ...]]:
        """How parts were read after a mark."""
        found: dict[str, list[str]] = {}
        for (part, how), count in sorted(self.mark().items()):
            if count > mark.get((part, how), 0):
                found.setdefault(part, []).append(how)
        return {part: tuple(hows) for part, hows in found.items()}

    def samples(self, part: str) -> int:
        """How many samples of a part were read, one that was read twice counted twice."""
        with self._lock:
            return self._samples[part]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Watch also whatever data are loaded meanwhile (:func:`certify.data.load`)."""
        _open.append(self)
        try:
            yield
        finally:
            _open.remove(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())


def open_ledger() -> Ledger | None:
    """The ledger that watches whatever is loaded now; None where there is none."""
    return _open[-1] if _open else None


@dataclass(frozen=True)
class Watch:
    """Where the readings of one part are noted.

    Attributes:
        ledger: that notes them.
        part: name of the part.
        how: ``raw``, or the name of the mechanism that reads.
    """

    ledger: Ledger
    part: str
    how: str = RAW

    def note(self, samples: int = 0) -> None:
        """Note a reading."""
        self.ledger.note(self.part, self.how, samples)


def joined(*touched: Touched | None) -> dict[str, list[str]] | None:
    """What several steps read together, as JSON values; None where it is not known of one of them.

    Example:
        >>> joined({"train": ("raw",)}, {"train": ("dp-sgd#0",), "validation": ("raw",)})
        {'train': ['dp-sgd#0', 'raw'], 'validation': ['raw']}
    """
    found: dict[str, set[str]] = {}
    for one in touched:
        if one is None:
            return None
        for part, hows in one.items():
            found.setdefault(part, set()).update(hows)
    return {part: sorted(hows) for part, hows in sorted(found.items())}
