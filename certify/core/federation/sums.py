"""What a round cost in bytes: one rule for the server, which states the sums, and for whoever checks them."""

from __future__ import annotations

from collections.abc import Iterable

from certify.core.federation.messages import Begin, Drop, DropReason, Entry

DECLINED: tuple[DropReason, ...] = ("busy", "budget", "policy")
"""Why a client does not take part in the first place, so that it receives no model."""


def bytes_up(entries: Iterable[Entry]) -> int:
    """What clients sent: answers, and keys and shares of masks."""
    return sum(one.sent.bytes + (0 if one.mask is None else one.mask.bytes_up) for one in entries)


def bytes_down(begin: Begin, entries: Iterable[Entry], dropped: Iterable[Drop]) -> int:
    """What clients received, with the model for those that went away on the way, since it was sent to them."""
    receivers = len(begin.selected) - sum(one.reason in DECLINED for one in dropped)
    return receivers * begin.payload.bytes + sum(0 if one.mask is None else one.mask.bytes_down for one in entries)
