"""What the program's exit codes mean, the same for all commands."""

from __future__ import annotations

DONE = 0
FAILED = 1
"""A check failed: something was altered, or does not follow from the evidence."""
USAGE = 2
"""Wrong usage, or input that can't be read."""
NO = 3
"""A certificate was refused, a budget was missed, or a gate stopped a model."""
NOT_TRUSTED = 4
"""All is well, but the signer is nobody whom the user trusts."""
NOT_DERIVED = 5
"""The evidence is missing, so that nothing could be derived from it."""
NOT_PERMITTED = 6
"""The use policy of the data does not permit it."""
