"""Placeholder for an assessment without an installed package: its statement is read, but not evaluated or shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from certify.assessment.assessment import Assessment, Version
from certify.core.errors import NotDerivedError

NOTHING: Mapping[str, Any] = {
    "outcome": "claimed",
    "result": {"text": "of an assessment that is not installed", "reasons": [], "notes": []},
    "profile": {"estimates": {}, "guards": []},
}
"""Shown in place of the signed content of its statement."""


class NotInstalled(Assessment):
    """Placeholder for an assessment of which only a statement is available.

    Args:
        predicate_type: predicate type of the statement.
        why: sentence that says why the assessment is unknown.
    """

    def __init__(self, predicate_type: str, why: str) -> None:
        self.predicate_type, self.why = predicate_type, why
        self.name = self.title = predicate_type
        self.versions = {predicate_type: Version("statement-1", "certify.core.schema")}

    def parse(self, content: bytes, name: str) -> NoReturn:
        """Refuse to parse.

        Raises:
            NotDerivedError: always.
        """
        raise NotDerivedError(self.why)

    def load_edition(self, name: str) -> NoReturn:
        """Refuse to load an edition.

        Raises:
            NotDerivedError: always.
        """
        raise NotDerivedError(self.why)
