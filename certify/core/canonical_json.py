"""Parsing of canonical JSON (RFC 8785) from an untrusted source: each value has exactly one byte sequence."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

from certify.core.errors import CertificateError

MAX_DEPTH = 24
_MAX_SAFE_INTEGER = 2**53 - 1
_WRITE = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode
_OTHER_NUMBER = re.compile(rb"[:,\[]-?(?:\d+(?:\.(?:0(?!\d)|\d+e)|e)|\d{16}|[NI])")
"""Numbers that Python's own writer writes in another way than RFC 8785, or that RFC 8785 does not allow."""


def parse_canonical(content: bytes, what: str) -> Any:
    """Parse canonical JSON (RFC 8785), and reject any other form.

    Args:
        content: the bytes.
        what: name used in errors.

    Raises:
        CertificateError: not JSON, not canonical, or nested too deeply.
    """
    subject = what[:1].upper() + what[1:]
    try:
        values = json.loads(content, parse_int=_integer)
        canonical = is_canonical(values, content)
    except (UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not UTF-8 text"
        raise CertificateError(f"{subject} is not canonical JSON: it is {reason}.") from error
    except ValueError as error:
        raise CertificateError(f"{subject} is not valid JSON ({str(error)[:200]}).") from error
    if not canonical:
        raise CertificateError(f"{subject} is not in canonical form (RFC 8785).")
    if _deeper(values, MAX_DEPTH):
        raise CertificateError(f"{subject} is nested deeper than {MAX_DEPTH} levels.")
    return values


def is_canonical(values: Any, content: bytes) -> bool:
    """Tell whether bytes are the canonical form of the values that were parsed from them.

    Python's own writer, in C, is asked first. Of ASCII without the numbers above it writes what RFC 8785 writes: it
    sorts keys by code points, whose order is another only beyond ASCII, and escapes the same characters.

    Raises:
        ValueError: the values have no canonical form, such as NaN.
    """
    # The fast path needs ASCII, because RFC 8785 sorts keys by UTF-16 code units and Python by code points.
    plain = content[:1] in b"[{" and content.isascii() and not _OTHER_NUMBER.search(content)
    return (plain and _WRITE(values) == content.decode()) or rfc8785.dumps(values) == content


def canonical_record(values: Mapping[str, Any]) -> bytes:
    """Return the canonical form of an object whose keys, on all levels, are text.

    The same as ``rfc8785.dumps``, by Python's own writer where both write the same: evidence has a line per sample.

    Raises:
        ValueError: the values have no canonical form, such as NaN.

    Example:
        >>> canonical_record({"label": 3, "kind": "prediction", "margin": 1.0})
        b'{"kind":"prediction","label":3,"margin":1}'
    """
    with contextlib.suppress(TypeError):
        # As they are, or else with 1 in place of 1.0, which is the most frequent difference.
        for form in (dict, _whole):
            text = _WRITE(form(values))
            if text.isascii() and not _OTHER_NUMBER.search(content := text.encode()):
                return content
    return rfc8785.dumps(dict(values))


def _whole(value: Any) -> Any:
    """Replace whole floats by integers, in a copy."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _MAX_SAFE_INTEGER else value
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return [_whole(each) for each in value] if isinstance(value, list | tuple) else value


def _integer(text: str) -> int | float:
    """Parse an integer, as a float if doubles cannot represent it exactly, like every reader of canonical JSON."""
    value = int(text)
    return value if abs(value) <= _MAX_SAFE_INTEGER else float(text)


def _deeper(values: Any, levels: int) -> bool:
    # Checked level by level without recursion, because an untrusted file decides the depth.
    level = [values]
    for _ in range(levels):
        level = [item for value in level if isinstance(value, dict | list) for item in _items(value)]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
