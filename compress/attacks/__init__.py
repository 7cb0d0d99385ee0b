"""Attacks that write witnesses: gradients of a float parent, or queries to a file. The referee itself has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.attacks.gradient import GradientAttack as GradientAttack
    from compress.attacks.square import SquareAttack as SquareAttack
    from compress.attacks.witness_search import Hunt as Hunt
    from compress.attacks.witness_search import hunt as hunt


__getattr__, __dir__ = door(
    __name__,
    {
        "gradient": ("GradientAttack",),
        "witness_search": ("Hunt", "hunt"),
        "square": ("SquareAttack",),
    },
)
