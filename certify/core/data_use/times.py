"""Times in files: UTC in seconds, ``2026-11-26T09:00:00Z``, which sort as text."""

from __future__ import annotations

import datetime
import re

TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Format of a time."""
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def now() -> str:
    """Return the current time."""
    return datetime.datetime.now(datetime.timezone.utc).strftime(TIME)


def is_time(text: str) -> bool:
    """Return whether a text is a valid time.

    Example:
        >>> is_time("2026-11-26T09:00:00Z"), is_time("2026-13-26T09:00:00Z")
        (True, False)
    """
    if not _TIME.fullmatch(text):
        return False
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def parse_time(text: str) -> datetime.datetime:
    """Parse a time.

    Raises:
        ValueError: the text is not a time.

    Example:
        >>> parse_time("2026-11-26T09:00:00Z").hour
        9
    """
    return datetime.datetime.strptime(text, TIME).replace(tzinfo=datetime.timezone.utc)
