"""Permission checks of one part of governed data, by the keyed identifiers of its samples."""

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
    """Permission checks for the samples of one part.

    Attributes:
        guard: guard of the data.
        part: name of the part.
        identifiers: keyed identifiers of its samples, in order.
    """

    guard: Guard
    part: str
    identifiers: tuple[str, ...]
    _last_state: tuple[object, ...] = field(default=(), repr=False)

    def usable(self) -> Rows:
        """Return the indices of the samples that may be used."""
        return np.flatnonzero(self.guard.usable(self.identifiers, action_of(self.part)))

    def ask(self, indices: Any) -> None:
        """Check permission for some samples."""
        self.guard.ask([self.identifiers[int(i)] for i in indices], action_of(self.part), self.part)

    def ask_all(self) -> None:
        """Check permission for all samples; skipped if nothing can have changed since the last check."""
        # Permission changes only with the policy, consent or the clock, which `state` summarises.
        state = (action_of(self.part), *self.guard.state())
        if state != self._last_state:
            self.guard.ask(self.identifiers, action_of(self.part), self.part)
            self._last_state = state

    def subset(self, indices: Iterable[int]) -> Permit:
        """Return the permit of the samples at some indices."""
        return Permit(self.guard, self.part, tuple(self.identifiers[int(i)] for i in indices))
