"""What judging ends in, and the constants that it was judged by, as far as every assessment has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Edition(Protocol):
    """The dated constants of an assessment, by name, with the hex SHA-256 of the file that holds them."""

    @property
    def name(self) -> str:
        """Name, such as ``2026``."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file that holds the constants."""
        ...


class Outcome(Protocol):
    """A grade, a claim, or a refusal with its reasons.

    ``text`` is how it is printed (``C~``, ``holds``, ``refused``); ``to_json`` holds at least ``text``, ``reasons`` and
    ``notes``.
    """

    @property
    def text(self) -> str:
        """How it is printed."""
        ...

    @property
    def refused(self) -> bool:
        """Whether it is a refusal."""
        ...

    def to_json(self) -> dict[str, Any]:
        """A JSON object with at least ``text``, ``reasons`` and ``notes``."""
        ...


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim, or a refusal with its reasons; an assessment with a scale of its own has a class of its own.

    Attributes:
        text: how it is printed.
        reasons: of a refusal, one sentence each.
        notes: what a reader should know, one sentence each.

    Example:
        >>> ClaimOutcome("refused", ("The records do not add up.",), ()).refused
        True
    """

    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether it is a refusal."""
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"text": self.text, "reasons": list(self.reasons), "notes": list(self.notes)}
