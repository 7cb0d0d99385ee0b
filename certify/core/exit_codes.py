"""Exit codes, the same for all commands."""

from __future__ import annotations

DONE = 0
FAILED = 1
"""A check failed: a file was altered, or a figure does not follow from the evidence."""
USAGE = 2
"""Wrong usage, or input that cannot be read."""
NO = 3
"""A certificate was refused, a budget was missed, or a gate stopped a model."""
NOT_TRUSTED = 4
"""All checks passed, but the user does not trust the signer."""
NOT_DERIVED = 5
"""The evidence is missing, so nothing could be re-derived."""
NOT_PERMITTED = 6
"""The use policy of the data does not permit it."""
STOPPED = 130
"""Stopped by Ctrl-C or SIGTERM; the code that shells use."""
