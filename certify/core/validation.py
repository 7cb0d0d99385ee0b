"""Strict validation of JSON and YAML values against the fields of a type."""

from __future__ import annotations

import functools
import json
import numbers
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.core.text import clean

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")
Path = tuple[int | str, ...]
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
WANTED = "Input should be "
SHOWN = 60


def validated(kind: Callable[..., T], values: object, what: str, place: Callable[..., str]) -> T:
    """Check values strictly: no key may be unknown or missing, and only integers are converted, to floats.

    Args:
        kind: a dataclass, a pydantic model or a ``TypedDict``; bounds are in ``Annotated`` types.
        values: JSON values.
        what: name of the object, for the error.
        place: function that returns the location of the value under some keys, such as ``file.yaml, line 3``, with
            which the error begins.

    Raises:
        UsageError: a value is invalid, or a key is missing or unknown (the nearest is suggested).
    """
    from pydantic import ValidationError  # takes 0.1 s, which most commands do not need

    try:
        # Validated as JSON, because only then does strict validation accept a list where a tuple is declared.
        written = _WRITE(values)
        checked: T = _adapter(kind).validate_json(written, strict=True, extra="forbid")
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A misspelt key is reported as unknown and as missing; the nearest valid key is suggested for the unknown one.
        first = next((each for each in errors if each["type"] in UNKNOWN), errors[0])
        path = _path(values, first["loc"])
        # A union reports one error per member; the sentence joins what they expect.
        same = [each for each in errors if _path(values, each["loc"]) == path]
        raise UsageError(f"{place(*path)}: {clean(_sentence(kind, what, path, first, same))}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{place()}: {what} contains a value that JSON cannot represent: {clean(error)}.") from error
    return checked


def read_known(kind: Callable[..., T], content: bytes) -> T:
    """Read JSON strictly, leaving out keys that the type does not have; the caller checks the keys.

    Raises:
        ValueError: a value is invalid, or a key without a default is missing.
    """
    known: T = _adapter(kind).validate_json(content, strict=True, extra="ignore")
    return known


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _plain(value: object) -> int | float:
    """Convert NumPy's numbers to Python's."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"found a value of type {type(value).__name__}")


_WRITE = json.JSONEncoder(default=_plain).encode


def _path(values: Any, steps: Path) -> Path:
    """Return the keys that lead to a value; pydantic appends members of unions and missing keys."""
    for depth, step in enumerate(steps):
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return steps[:depth]
    return steps


def _sentence(kind: Any, what: str, path: Path, first: ErrorDetails, same: Iterable[ErrorDetails]) -> str:
    if first["type"] in UNKNOWN:
        return str(unknown_name(f"key of {_named(path[:-1], what)}", str(path[-1]), _known(kind, path[:-1])))
    if first["type"] == "missing":
        return f"{_named(path, what)} lacks the key '{first['loc'][-1]}'; add it."
    text, message, found = _named(path, what), first["msg"].removeprefix("Value error, "), repr(first["input"])
    if message.startswith(WANTED):
        wanted = " or ".join(dict.fromkeys(each["msg"].removeprefix(WANTED) for each in same))
        text += " must be " + wanted.replace("an object", "a mapping").replace("valid array", "list")
    else:
        text += f": {message[:1].lower()}{message[1:]}".replace(" after validation", "").replace(": tuple ", ": list ")
        if isinstance(first["input"], dict):
            return f"{text}."
    return f"{text}, got {found[:SHOWN]}{'...' if len(found) > SHOWN else ''}."


def _named(path: Path, what: str) -> str:
    return f"{'.'.join(map(str, path))} of {what}" if path else what


def _known(kind: Any, parents: Path) -> dict[str, Any]:
    """Return the valid keys below other keys."""
    schema = _adapter(kind).json_schema()
    names: dict[str, Any] = schema.get("properties", {})
    for step in parents:
        if step in names and (inner := re.search(r"#/\$defs/([^\"]+)", json.dumps(names[step]))):
            names = schema["$defs"][inner[1]]["properties"]
    return names
