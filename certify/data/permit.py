"""What a part of governed data needs to ask its guard: the keyed identifier of each sample, and what it is read for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.data_use.guard import Guard, action_of

Rows = npt.NDArray[np.int64]


@dataclass
class Permit:
    """Asks a guard about the samples of one part.

    Attributes:
        guard: of the data.
        part: name of the part.
        identifiers: of its samples, in order.
    """

    guard: Guard
    part: str
    identifiers: tuple[str, ...]
    _asked: tuple[object, ...] = field(default=(), repr=False)

    def usable(self) -> Rows:
        """Indices of the samples that may be used."""
        return np.flatnonzero(self.guard.usable(self.identifiers, action_of(self.part)))

    def ask(self, indices: Any) -> None:
        """Ask about some samples."""
        self.guard.ask([self.identifiers[int(i)] for i in indices], action_of(self.part), self.part)

    def ask_all(self) -> None:
        """Ask about all samples; not twice where nothing can have changed since."""
        state = (action_of(self.part), *self.guard.state())
        if state != self._asked:
            self.guard.ask(self.identifiers, action_of(self.part), self.part)
            self._asked = state

    def subset(self, indices: Iterable[int]) -> Permit:
        """For the samples at some indices."""
        return Permit(self.guard, self.part, tuple(self.identifiers[int(i)] for i in indices))
