"""Strict YAML files of plain values: no aliases, tags or duplicate keys, and the line of every value is known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from certify.core.errors import UsageError
from certify.core.text import clean

MAX_DEPTH = 8
PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
LARGEST_INTEGER = 2**53 - 1
"""Largest integer that canonical JSON can represent (RFC 8785)."""
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Numbers such as 1e-3, which YAML 1.1 parses as text."""


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML.

    Attributes:
        name: name of the file.
        values: text, numbers, booleans, None, lists and mappings of these.
        lines: line of each value's key, or of a list item, by the path of keys, counted from 1.
    """

    name: str
    values: dict[str, Any]
    lines: Mapping[tuple[int | str, ...], int]

    def place(self, *keys: int | str) -> str:
        """Return the file and line of a value, or of its nearest existing parent."""
        while keys not in self.lines:
            keys = keys[:-1]
        return f"{self.name}, line {self.lines[keys]}"


def read_document(path: Path, max_bytes: int) -> Document:
    """Read a YAML file.

    Raises:
        UsageError: the file cannot be read, is too large, or is refused by :func:`parse_document`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    if len(content) > max_bytes:
        raise UsageError(f"{path} is larger than {max_bytes // 1024} KiB, the limit for such files.")
    return parse_document(content, str(path))


def parse_document(content: bytes | str, name: str) -> Document:
    """Parse one YAML document that holds a mapping.

    Args:
        content: text, or bytes in UTF-8 or UTF-16.
        name: name of the file, for errors.

    Raises:
        UsageError: it is not valid YAML, not a mapping, has a duplicate key, or contains other than plain values.
    """
    try:
        loader = _Loader(content)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise _Refused(node, "expected a mapping, one 'key: value' per line")
        return Document(name, loader.plain(node, ()), loader.lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        invalid = "" if isinstance(error, _Refused) else "not valid YAML: "
        raise UsageError(f"{name}, line {line}: {invalid}{clean(error.problem)}.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UsageError(f"{name}: not valid YAML: {clean(error)}.") from error


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not a plain value."""

    def __init__(self, place: Any, problem: str) -> None:
        super().__init__(problem=problem, problem_mark=getattr(place, "start_mark", None))


class _Loader(yaml.SafeLoader):
    """Loader that converts nodes to values and records their lines."""

    def __init__(self, content: bytes | str) -> None:
        super().__init__(content)
        self.depth = 0
        self.lines: dict[tuple[int | str, ...], int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Checked on the event, before anything is built, because expanded aliases could exhaust the memory.
        event = self.peek_event()  # type: ignore[no-untyped-call]
        nests = isinstance(event, yaml.CollectionStartEvent)
        if getattr(event, "anchor", None):
            raise _Refused(event, "anchors and aliases are not allowed")
        if tag := getattr(event, "tag", None):
            raise _Refused(event, f"tags such as '{tag}' are not allowed")
        self.depth += nests
        if self.depth > MAX_DEPTH:
            raise _Refused(event, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= nests
        return node

    def plain(self, node: yaml.Node, keys: tuple[int | str, ...]) -> Any:
        """Return the value of a node at a path of keys."""
        # A value in a mapping keeps the line of its key.
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*keys, place)) for place, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, ".".join(map(str, keys)))
        values: dict[str, Any] = {}
        for key_node, value in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(key_node, "a key must be text")
            if key in values:
                raise _Refused(key_node, f"duplicate key '{key}'; keep one")
            inner = (*keys, key)
            self.lines[inner] = key_node.start_mark.line + 1
            values[key] = self.plain(value, inner)
        return values

    def scalar(self, node: yaml.ScalarNode, name: str) -> Any:
        """Return text, a number, a boolean or None."""
        if node.tag not in PLAIN_TAGS:
            raise _Refused(node, f"{name} must be quoted text, a number, true, false or null, got {node.value}")
        # Only unquoted scalars have no style, so "1e-3" in quotes stays text.
        number = node.style is None and EXPONENT.fullmatch(node.value)
        value: Any = float(node.value) if number else self.construct_object(node)
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise _Refused(node, f"{name} must be an integer in [-{LARGEST_INTEGER}, {LARGEST_INTEGER}]")
        if isinstance(value, float) and not math.isfinite(value):
            raise _Refused(node, f"{name} must be a finite number, got {node.value}")
        return value
