"""Text from elsewhere, made safe to print: on a terminal, in XML and in HTML."""

from __future__ import annotations

import unicodedata


def clean(value: object) -> str:
    """One line of :func:`printable` text in which runs of white space are one space."""
    return " ".join(printable(value).split())


def printable(value: object) -> str:
    """Text without characters that XML and HTML forbid or that reorder what stands around them.

    Control, format (bidirectional marks among them), surrogate and unassigned characters become spaces.
    """
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else c for c in str(value))
