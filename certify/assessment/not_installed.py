"""An assessment that no installed package knows: its statement is read, and nothing that it says is judged or shown."""

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
"""What is shown of its statement in the place of what was signed."""


class NotInstalled(Assessment):
    """Stands for an assessment of which only a statement is there.

    Args:
        predicate_type: of the statement.
        why: it is not known, in a sentence.
    """

    def __init__(self, predicate_type: str, why: str) -> None:
        self.predicate_type, self.why = predicate_type, why
        self.name = self.title = predicate_type
        self.versions = {predicate_type: Version("statement-1", "certify.core.schema")}

    def parse(self, content: bytes, name: str) -> NoReturn:
        """Refuse.

        Raises:
            NotDerivedError: always.
        """
        raise NotDerivedError(self.why)

    def load_edition(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            NotDerivedError: always.
        """
        raise NotDerivedError(self.why)
