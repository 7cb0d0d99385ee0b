"""Reading and checking the fields of a preprocessing contract, strictly: nothing unknown, doubled or guessed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from certify.errors import UsageError
from certify.suggest import unknown_name

MAX_SIDE = 8192
MAX_COLUMN = 1 << 24
MAX_YAML_BYTES = 1 << 20
SHOWN = 60

CHOICES = {
    "layout": ("NCHW", "NHWC"),
    "colour": ("RGB", "BGR", "L"),
    "crop": ("center", "none"),
    "interpolation": ("nearest", "bilinear", "bicubic"),
    "reading": ("logits", "probabilities"),
    "dtype": ("float32", "float16", "uint8", "int8"),
}
OPTIONAL = ("dtype", "class_map")


def checked_fields(values: Mapping[str, Any], where: str, lines: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Check the fields of a contract and bring each into its type.

    Args:
        values: fields by name.
        where: what an error names, such as the file.
        lines: line of the file in which each key stands, from 1.

    Raises:
        UsageError: a key is unknown or missing, or a value is not allowed.
    """
    places = {str(key): f"{where}, line {lines[key]}" if lines and key in lines else where for key in values}
    for key in values:
        if key not in _CHECKS:
            raise unknown_name(f"key in {places[str(key)]}:", str(key), _CHECKS)
    if missing := [key for key in _CHECKS if key not in values and key not in OPTIONAL]:
        raise UsageError(f"{where}: lacks {', '.join(missing)}; a preprocessing contract states every step.")
    checked = {key: _CHECKS[key](places[key], key, value) for key, value in values.items()}
    channels = 1 if checked["colour"] == "L" else 3
    for key in ("mean", "std"):
        if len(checked[key]) != channels:
            raise UsageError(
                f"{places[key]}: {key} has {len(checked[key])} values and colour {checked['colour']} has {channels} "
                "channel(s); give one value a channel."
            )
    return checked


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a flat YAML mapping.

    Returns:
        (values by key, line of each key from 1).

    Raises:
        UsageError: the file can't be read, is not YAML, not a mapping, or has a key twice.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_YAML_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror}); give a preprocessing contract in YAML.") from error
    if len(content) > MAX_YAML_BYTES:
        raise UsageError(f"{path}: is larger than {MAX_YAML_BYTES} bytes; a preprocessing contract is a few lines.")
    try:
        node = yaml.compose(content, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{path}: is not a mapping; write one 'key: value' a line.")
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in values:
                raise UsageError(f"{path}, line {line}: key '{key}' stands there twice; keep one.")
            lines[key] = line
            values[key] = _plain(value_node, f"{path}, line {line}: {key}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not valid YAML ({' '.join(str(error).split())}).") from error
    return values, lines


def _plain(node: yaml.Node, where: str) -> Any:
    """A scalar, or a list of scalars; anything deeper has no place in a contract."""
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise UsageError(f"{where} should be a plain value or a list of them, found something nested.")
    loader = yaml.SafeLoader("")
    constructed = [loader.construct_object(item) for item in items]
    return constructed if isinstance(node, yaml.SequenceNode) else constructed[0]


def _wrong(where: str, key: str, wanted: str, value: Any) -> UsageError:
    found = repr(value)
    return UsageError(f"{where}: {key} should be {wanted}, found {found[:SHOWN]}{'...' if len(found) > SHOWN else ''}.")


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(where, key, "a name", value)
    return value


def _choice(where: str, key: str, value: Any) -> str:
    if value not in CHOICES[key]:
        raise _wrong(where, key, "one of " + ", ".join(CHOICES[key]), value)
    return str(value)


def _integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _side(where: str, key: str, value: Any) -> int:
    if not _integer(value, 1, MAX_SIDE):
        raise _wrong(where, key, f"a number of pixels from 1 to {MAX_SIDE}", value)
    return int(value)


def _resize(where: str, key: str, value: Any) -> int | str | None:
    if value is None or value == "exact":
        return "exact" if value else None
    if not _integer(value, 1, MAX_SIDE):
        raise _wrong(where, key, f"'exact', null, or the shorter side in pixels from 1 to {MAX_SIDE}", value)
    return int(value)


def _positive(where: str, key: str, value: Any) -> float:
    if not _number(value) or value <= 0:
        raise _wrong(where, key, "a number above 0", value)
    return float(value)


def _numbers(where: str, key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(_number(item) for item in value):
        raise _wrong(where, key, "a list of numbers", value)
    if key == "std" and not all(item > 0 for item in value):
        raise _wrong(where, key, "a list of numbers above 0", value)
    return tuple(float(item) for item in value)


def _class_map(where: str, key: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(_integer(item, 0, MAX_COLUMN) for item in value):
        raise _wrong(where, key, "null or a list of output columns, counted from 0", value)
    columns = tuple(int(item) for item in value)
    if len(columns) < 2 or len(set(columns)) != len(columns):
        raise _wrong(where, key, "a list of two different output columns or more", value)
    return columns


_CHECKS: dict[str, Callable[[str, str, Any], Any]] = {
    "input_name": _text,
    "output_name": _text,
    "height": _side,
    "width": _side,
    "layout": _choice,
    "colour": _choice,
    "scale": _positive,
    "mean": _numbers,
    "std": _numbers,
    "resize": _resize,
    "crop": _choice,
    "interpolation": _choice,
    "reading": _choice,
    "dtype": _choice,
    "class_map": _class_map,
}
