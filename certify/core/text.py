"""Sanitising of untrusted text for terminals, XML and HTML."""

from __future__ import annotations

import unicodedata


def clean(value: object) -> str:
    """Return :func:`printable` text as one line, with runs of white space collapsed."""
    return " ".join(printable(value).split())


def printable(value: object) -> str:
    """Return text without characters that XML and HTML forbid or that reorder the surrounding text.

    Control, format (bidirectional marks among them), surrogate and unassigned characters become spaces.
    """
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else c for c in str(value))
