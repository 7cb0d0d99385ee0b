"""Mutation of valid input into hostile input: bytes, JSON, and lines of text.

Every function takes its randomness from the given generator, so that an input can be reproduced from the numbers
printed with a failure.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

SECRET = "secret.bin"
"""A file that lies outside of the folder of the input and must never be read."""

TEXTS = (
    "",
    "\x00",
    "\ud800",
    "\u202eevil",
    "\x1b[31m",
    "A" * 5000,
    "x" * 200_000,
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "]]><svg onload=alert(1)>",
    "{{7*7}}${7*7}<%=7*7%>",
    "%s%n%x",
    f"../{SECRET}",
    "/etc/passwd",
    "..\\..\\windows",
    "!!python/object/apply:os.system ['true']",
    "__import__('os').system('true')",
    "2026-99-99T99:99:99Z",
    "nan",
    "1e999",
)
NUMBERS = (0, -1, 1, 255, 256, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, -(2**53), 1e308, -1e308, 5e-324, -0.0, 0.1)
TOKENS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"null",
    b"true",
    b"1e999",
    b"9" * 5000,
    b"0x" + b"f" * 6000,
    b"1:1:1",
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 300,
    b"\\ud800",
    b"\\u0000",
    b"!!python/object/apply:os.system [true]",
    b"!!binary aGVsbG8=",
    b"&a [*a, *a]",
    b"<<: *x",
    b"? [a]\n: b",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00" * 20,
    b"cos\nsystem\n(S'true'\ntR.",
    b"PK\x03\x04",
)


def hostile(rng: random.Random) -> Any:
    """A JSON value that is seldom expected."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([None, True, False, [], {}])
    if kind <= 2:
        return rng.choice(NUMBERS)
    if kind <= 4:
        return rng.choice(TEXTS)
    if kind == 5:
        return _nested(rng.choice([5, 23, 24, 25, 60, 300]))
    if kind == 6:
        return [rng.choice(NUMBERS)] * rng.choice([2, 100, 20_000])
    return {rng.choice(TEXTS)[:50]: rng.choice(NUMBERS), "__class__": "x"}


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes: flipped, cut, doubled, moved, or a token from the list put in."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(changed) + 1)
        length = min(len(changed) - place, rng.choice([1, 2, 8, 64, 1000]))
        kind = rng.randrange(7)
        if kind == 0 and length:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + length]
        elif kind == 2:
            changed[place:place] = changed[place : place + length] * rng.choice([1, 3])
        elif kind == 3:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 4:
            changed[place : place + length] = rng.choice(TOKENS)
        elif kind == 5:
            changed[place : place + length] = rng.randbytes(length)
        else:
            del changed[place:]
    return bytes(changed)


def of_json(value: Any, rng: random.Random) -> Any:
    """One to three changes of the parts of a JSON value."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return hostile(rng)
        owner, key = rng.choice(places)
        _change(owner, key, rng)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _change(owner: Any, key: Any, rng: random.Random) -> None:
    kind = rng.randrange(9)
    value = owner[key]
    if kind <= 2:
        owner[key] = hostile(rng)
    elif kind == 3:
        del owner[key]
    elif kind == 4 and isinstance(owner, dict):
        owner[rng.choice([f"{key}_", *TEXTS[:8]])] = value
    elif kind == 5:
        owner[key] = [value]
    elif kind == 6 and isinstance(value, int | float) and not isinstance(value, bool):
        owner[key] = rng.choice([-value, value * 1e300, value * 1e-300, value + 1, 0])
    elif kind == 7 and isinstance(value, str):
        owner[key] = rng.choice([value + rng.choice(TEXTS)[:4000], value[: len(value) // 2], value.upper()])
    elif kind == 8 and isinstance(owner, list):
        owner.extend([copy.deepcopy(value)] * rng.choice([1, 3, 1000]))
    else:
        owner[key] = rng.choice([str(value), 0, None])


def of_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines taken out, doubled, moved, indented, or with a token in them."""
    lines = content.split(b"\n")
    for _ in range(rng.choice([1, 2, 3])):
        place = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[place])
        elif kind == 2:
            lines[place] = b" " * rng.choice([1, 2, 5]) + lines[place]
        elif kind == 3:
            head, colon, _ = lines[place].partition(b":")
            lines[place] = head + colon + b" " + rng.choice(TOKENS)
        elif kind == 4:
            lines[place] += b" " + rng.choice(TOKENS)
        else:
            lines[place : place + 1] = lines[place : place + 1] * rng.choice([2, 50])
    return b"\n".join(lines)
