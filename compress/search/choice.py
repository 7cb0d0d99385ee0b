"""One choice of a search: its values, and when it applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Value = str | int | float | bool | None
Params = Mapping[str, Value]
DIGITS = 6
"""Digits to which stepped numbers are rounded."""


class Asker(Protocol):
    """Source of values: a trial of Optuna, or a fixed one."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float) -> float:
        """Return a number from ``low`` to ``high`` in steps."""


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        name: ``PASS.PARAMETER``, or :data:`compress.search.space.FORMAT`.
        values: possible values; for stepped numbers the lowest and the highest.
        step: difference between neighbouring numbers; None if ``values`` are complete.
        off: value at which the whole pass is omitted; only for the choice that decides on it.
        decides: whether this choice determines if the pass is in the recipe.
        needs: pass that must be in the recipe for the choice to apply.
        given: choice that must be present and not None for this one to apply; empty for none.
        unless: choices that must be absent or None for this one to apply.
    """

    name: str
    values: tuple[Value, ...]
    step: float | None = None
    off: Value = None
    decides: bool = False
    needs: str | None = None
    given: str = ""
    unless: tuple[str, ...] = ()

    @property
    def of(self) -> str:
        """The pass that the choice is about."""
        return self.name.partition(".")[0]

    @property
    def parameter(self) -> str:
        """The parameter of that pass."""
        return self.name.partition(".")[2]

    def ask(self, asker: Asker) -> Value:
        """Draw a value."""
        if self.step is None:
            drawn: Value = asker.suggest_categorical(self.name, self.values)
            return drawn
        low, high = (float(end) for end in self.values if end is not None)
        return round(asker.suggest_float(self.name, low, high, step=self.step), DIGITS)

    def nearest(self, wanted: Value) -> Value:
        """Return the value that is nearest to a wanted one, or the first one if none is comparable."""
        if self.step is not None and isinstance(wanted, int | float):
            low, high = (float(end) for end in self.values if end is not None)
            return round(min(max(low + self.step * round((wanted - low) / self.step), low), high), DIGITS)
        if wanted in self.values:
            return wanted
        numbers = [each for each in self.values if isinstance(each, int | float) and not isinstance(each, bool)]
        if numbers and isinstance(wanted, int | float):
            return min(numbers, key=lambda each: abs(each - wanted))
        return self.values[0]
