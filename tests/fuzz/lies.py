"""Fields of a signed statement with false values that a maker could try to sign."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

FREE = {
    "predicate.model.name": "a name for people; the digests identify the model",
    "predicate.label.renderer": "what drew label.png, which is then not compared",
}
"""Fields that a maker may choose freely; everything else is derived from the evidence or compared with a file."""


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all values that are not containers."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, (*path, str(place)))
    else:
        yield path


def lie(statement: Any, path: tuple[str, ...]) -> None:
    """Put another value of the same type at a path."""
    place = statement
    for key in path[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    key: Any = int(path[-1]) if isinstance(place, list) else path[-1]
    value = place[key]
    if isinstance(value, bool):
        place[key] = not value
    elif isinstance(value, int | float):
        place[key] = value + 1 if value == int(value) else value * 1.001
    elif value is None:
        place[key] = 1
    else:
        place[key] = another_letter(value, random.Random(0)) if value else "x"


def another_letter(text: str, rng: random.Random) -> str:
    """The same text with one letter that is another."""
    place = rng.randrange(len(text))
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
