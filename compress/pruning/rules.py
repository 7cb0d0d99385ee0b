"""What the two ways of structured pruning are told alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PruningRules:
    """How units are chosen, and what stays.

    Attributes:
        head: layer that keeps its outputs, the classes.
        importance: see StructuredPrune.
        scope: ``local``, ``global`` or ``isomorphic``.
        multiple: widths are kept at multiples of this; heads are not.
        most: largest share of its units that a layer or group may lose.
        count: gives what is to fall (multiply-adds, parameters) of the model as it is, on whatever device it is.
        keep: names of further layers that keep their outputs.
    """

    head: nn.Module
    importance: str
    scope: str
    multiple: int
    most: float
    count: Callable[[nn.Module], int]
    keep: frozenset[str] = frozenset()
