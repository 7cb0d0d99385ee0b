"""Reading and checking the fields of a preprocessing contract, strictly: nothing unknown, doubled or guessed."""

from __future__ import annotations

import numbers
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name

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
TOKEN_TYPES = ("int64", "int32")
DIGEST = re.compile(r"[0-9a-f]{64}")
KIND = "kind"
"""Key that says what a model takes; contracts without it are of models that take pictures."""
MAX_LENGTH = 1 << 16
"""Tokens of one sample."""

Check = Callable[[str, str, Any], Any]


@dataclass(frozen=True)
class Rules:
    """What the fields of one kind of contract must be.

    Attributes:
        kind: as the contract states it.
        checks: for each field, a function of (place, key, value) that brings the value into its type.
        optional: fields that may be left out.
        together: what the fields must be beside one another, of (checked fields, place of each field).
    """

    kind: str
    checks: Mapping[str, Check]
    optional: tuple[str, ...]
    together: Callable[[Mapping[str, Any], Mapping[str, str]], None]


def checked_fields(
    rules: Rules, values: Mapping[str, Any], where: str, lines: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Check the fields of a contract and bring each into its type.

    Args:
        rules: of the kind of contract.
        values: fields by name.
        where: what an error names, such as the file.
        lines: line of the file in which each key stands, from 1.

    Raises:
        UsageError: a key is unknown or missing, or a value is not allowed.
    """
    places = {str(key): _place(str(key), where, lines) for key in values}
    for key in values:
        if key not in rules.checks:
            raise unknown_name(f"key in {places[str(key)]}:", str(key), rules.checks)
    if missing := [key for key in rules.checks if key not in values and key not in rules.optional]:
        raise UsageError(f"{where}: lacks {', '.join(missing)}; a preprocessing contract states every step.")
    checked = {key: rules.checks[key](places[key], key, value) for key, value in values.items()}
    rules.together(checked, places)
    return checked


def kind_of(values: Mapping[str, Any], kinds: Iterable[str], where: str, lines: Mapping[str, int] | None = None) -> str:
    """The kind that a contract states, or that of pictures where it states none.

    Raises:
        UsageError: an unknown kind, of which the nearest is named, or none.
    """
    kind = _text(_place(KIND, where, lines), KIND, values.get(KIND, "image"))
    if kind not in kinds:
        raise unknown_name(f"kind of contract in {_place(KIND, where, lines)}:", kind, kinds)
    return kind


def _place(key: str, where: str, lines: Mapping[str, int] | None) -> str:
    return f"{where}, line {lines[key]}" if lines and key in lines else where


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
    try:
        found = repr(value)
    except ValueError:  # hexadecimal digits in YAML make integers that Python does not print
        found = "a number of thousands of digits"
    return UsageError(f"{where}: {key} should be {wanted}, found {found[:SHOWN]}{'...' if len(found) > SHOWN else ''}.")


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(where, key, "a name", value)
    return value


def _choice(where: str, key: str, value: Any) -> str:
    if value not in CHOICES[key]:
        raise _wrong(where, key, "one of " + ", ".join(CHOICES[key]), value)
    return str(value)


def _integer_type(where: str, key: str, value: Any) -> str:
    if value not in TOKEN_TYPES:
        raise _wrong(where, key, "one of " + ", ".join(TOKEN_TYPES), value)
    return str(value)


def _integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high


def _number(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and bool(abs(value) <= sys.float_info.max)


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


def _optional_text(where: str, key: str, value: Any) -> str | None:
    return None if value is None else _text(where, key, value)


def _count(where: str, key: str, value: Any) -> int:
    most = MAX_LENGTH if key == "length" else MAX_COLUMN
    if not _integer(value, 1, most):
        raise _wrong(where, key, f"a number from 1 to {most}", value)
    return int(value)


def _token(where: str, key: str, value: Any) -> int:
    if not _integer(value, 0, MAX_COLUMN):
        raise _wrong(where, key, f"the number of a token, from 0 to {MAX_COLUMN}", value)
    return int(value)


def _digest(where: str, key: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and DIGEST.fullmatch(value)):
        raise _wrong(where, key, "null or 64 hexadecimal digits (SHA-256)", value)
    return value


def _a_value_a_channel(checked: Mapping[str, Any], places: Mapping[str, str]) -> None:
    channels = 1 if checked["colour"] == "L" else 3
    for key in ("mean", "std"):
        if len(checked[key]) != channels:
            raise UsageError(
                f"{places[key]}: {key} has {len(checked[key])} values and colour {checked['colour']} has {channels} "
                "channel(s); give one value a channel."
            )


def _different_inputs(checked: Mapping[str, Any], places: Mapping[str, str]) -> None:
    named = [checked[key] for key in ("input_ids", "attention_mask", "token_type_ids") if checked.get(key)]
    if len(set(named)) < len(named):
        raise UsageError(f"{places['input_ids']}: two inputs have one name ({', '.join(named)}); name each.")
    if checked["pad_id"] >= checked["vocabulary"]:
        raise UsageError(
            f"{places['pad_id']}: pad_id {checked['pad_id']} lies outside the vocabulary of {checked['vocabulary']} "
            "tokens, which are counted from 0."
        )


IMAGE = Rules(
    "image",
    {
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
    },
    ("dtype", "class_map"),
    _a_value_a_channel,
)
TOKENS = Rules(
    "tokens",
    {
        "input_ids": _text,
        "output_name": _text,
        "length": _count,
        "vocabulary": _count,
        "pad_id": _token,
        "reading": _choice,
        "attention_mask": _optional_text,
        "token_type_ids": _optional_text,
        "tokenizer": _digest,
        "dtype": _integer_type,
        "class_map": _class_map,
    },
    ("attention_mask", "token_type_ids", "tokenizer", "dtype", "class_map"),
    _different_inputs,
)
