"""Error message for an unknown name, with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from certify.core.errors import UsageError

CUTOFF = 0.6
"""Least similarity of a suggestion; less similar spellings are different words (``data`` and ``gate``)."""
SYNONYMS = {
    "amount": ("macs",),
    "bench": ("profile",),
    "benchmark": ("profile",),
    "check": ("verify",),
    "config": ("init",),
    "configure": ("init",),
    "convert": ("export",),
    "evaluate": ("profile",),
    "finetuning": ("finetune",),
    "grade": ("certify",),
    "int8": ("quantize_static",),
    "kd": ("distill",),
    "learning_rate": ("lr",),
    "measure": ("profile",),
    "new": ("init",),
    "optimize": ("compress",),
    "prune": ("structured_prune",),
    "pruning": ("prune", "structured_prune"),
    "quantization": ("quantize", "quantize_static"),
    "quantize": ("quantize_static",),
    "ratio": ("macs",),
    "sign": ("certify",),
    "sparsity": ("macs",),
    "train": ("finetune", "compress"),
    "wizard": ("init",),
}
"""Names of other tools for what leanmark has; a synonym takes precedence over a similar spelling."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """Return the error for a name that does not exist.

    Args:
        kind: kind of name ("model", "recipe", "key of structured_prune").
        name: requested name.
        known: valid names.
        hint: a closing sentence, such as the command that lists them.
    """
    names = sorted(known)
    meant = [n for n in SYNONYMS.get(name.lower(), ()) if n in names]
    near = meant or difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=CUTOFF)
    sentence = f"Unknown {kind} '{name}'"
    if near:
        nearest = next(n for n in names if n.lower() == near[0])
        sentence += f"; did you mean '{nearest}'?"
    elif 0 < len(names) <= 20:
        sentence += f"; known: {', '.join(names)}."
    else:
        sentence += "."
    return UsageError(f"{sentence} {hint}".rstrip())
