"""Outcome of an assessment and its edition: the parts that all assessments share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Edition(Protocol):
    """Dated constants of an assessment, by name, with the hex SHA-256 of their file."""

    @property
    def name(self) -> str:
        """Name, such as ``2026``."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file with the constants."""
        ...


class Outcome(Protocol):
    """Grade, claim, or refusal with its reasons.

    ``text`` is the printed form (``C~``, ``holds``, ``refused``); ``to_json`` has at least ``text``, ``reasons`` and
    ``notes``.
    """

    @property
    def text(self) -> str:
        """Printed form."""
        ...

    @property
    def refused(self) -> bool:
        """Whether it is a refusal."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with at least ``text``, ``reasons`` and ``notes``."""
        ...


@dataclass(frozen=True)
class ClaimOutcome:
    """Claim, or refusal with its reasons; an assessment with its own scale has its own class.

    Attributes:
        text: printed form.
        reasons: reasons of a refusal, one sentence each.
        notes: remarks for readers, one sentence each.

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
        """Return a JSON object."""
        return {"text": self.text, "reasons": list(self.reasons), "notes": list(self.notes)}
