"""One sentence for an unknown name, with the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from certify.core.errors import UsageError


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """Build the error for a name that does not exist.

    Args:
        kind: what the name stands for ("model", "recipe", "key of structured_prune").
        name: what was asked for.
        known: the valid names.
        hint: a closing sentence, such as the command that lists them.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    sentence = f"Unknown {kind} '{name}'"
    if near:
        nearest = next(n for n in names if n.lower() == near[0])
        sentence += f"; did you mean '{nearest}'?"
    elif 0 < len(names) <= 20:
        sentence += f"; known: {', '.join(names)}."
    else:
        sentence += "."
    return UsageError(f"{sentence} {hint}".rstrip())
