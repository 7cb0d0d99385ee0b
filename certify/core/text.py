"""Sanitising of untrusted text for terminals, XML and HTML."""

from __future__ import annotations

import textwrap
import unicodedata

WIDTH = 80
BULLETS = 70
"""Columns of a list's text, which fits terminals of 72 with its indent."""


def clean(value: object) -> str:
    """Return :func:`printable` text as one line, with runs of white space collapsed."""
    return " ".join(printable(value).split())


def printable(value: object) -> str:
    """Return text without characters that XML and HTML forbid or that reorder the surrounding text.

    Control, format (bidirectional marks among them), surrogate and unassigned characters become spaces.
    """
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else c for c in text)


def wrapped(value: object) -> str:
    """Return :func:`clean` text wrapped to 80 columns, with later lines indented; no word is split.

    Example:
        >>> print(wrapped("- " + 11 * "seven77 "))
        - seven77 seven77 seven77 seven77 seven77 seven77 seven77 seven77 seven77
          seven77 seven77
    """
    return textwrap.fill(clean(value), WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def bullet(value: object) -> str:
    """Return text as an indented item of a list that fits 72 columns; its later lines are indented too.

    Example:
        >>> print(bullet(11 * "seven77 "))
          - seven77 seven77 seven77 seven77 seven77 seven77 seven77 seven77
            seven77 seven77 seven77
    """
    text = textwrap.fill(
        clean(f"- {value}"), BULLETS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return textwrap.indent(text, "  ")
