"""Bytes of a round, computed the same way by the server and by verifiers."""

from __future__ import annotations

from collections.abc import Iterable

from certify.core.federation.fields import Drop, DropReason
from certify.core.federation.messages import Begin, Entry

DECLINED: tuple[DropReason, ...] = ("busy", "budget", "policy")
"""Reasons for which a client does not take part at all and receives no model."""


def bytes_up(entries: Iterable[Entry]) -> int:
    """Return the bytes sent by clients: answers, and keys and shares of masks."""
    return sum(entry.sent.bytes + (0 if entry.mask is None else entry.mask.bytes_up) for entry in entries)


def bytes_down(begin: Begin, entries: Iterable[Entry], dropped: Iterable[Drop]) -> int:
    """Return the bytes received by clients, including the model sent to clients that dropped out later."""
    receivers = len(begin.selected) - sum(drop.reason in DECLINED for drop in dropped)
    return receivers * begin.payload.bytes + sum(
        0 if entry.mask is None else entry.mask.bytes_down for entry in entries
    )
