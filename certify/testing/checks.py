"""Failure of checks, shared by all test batteries."""

from __future__ import annotations


class CheckFailed(AssertionError):
    """A violation of the contract of a kind of part."""


def require(holds: bool, sentence: str) -> None:
    """Fail a check unless a condition holds.

    Raises:
        CheckFailed: with the sentence, which follows the part's name ("has no name").

    Example:
        >>> require(1 < 2, "has no name")
    """
    if not holds:
        raise CheckFailed(sentence)
