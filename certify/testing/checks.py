"""What all batteries share: how a check fails."""

from __future__ import annotations


class CheckFailed(AssertionError):
    """A part does not hold what every part of its kind promises."""


def require(holds: bool, sentence: str) -> None:
    """Fail a check unless something holds.

    Raises:
        CheckFailed: with the sentence, which goes on where the part's name stopped ("has no name").

    Example:
        >>> require(1 < 2, "has no name")
    """
    if not holds:
        raise CheckFailed(sentence)
