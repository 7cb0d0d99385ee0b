"""The maker's signed score of a model, counted again from its records."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from certify.attest.statements import records_path, statement_path
from certify.core.errors import LeanmarkError
from certify.scorecard.assessment import Scorecard
from certify.scorecard.levels import Score, score

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate
    from certify.attest.verification import Verification


def signed_score(path: Path, verification: Verification) -> tuple[Certificate, Score] | None:
    """Return the scorecard next to a model, counted again from its records; None if there is no valid one."""
    found = next((one for one in verification.certificates if isinstance(one.assessment, Scorecard)), None)
    if found is None:
        return None
    room = Scorecard()
    source = records_path(statement_path(path.parent, room.name))
    try:
        content = source.read_bytes()
        if hashlib.sha256(content).hexdigest() != found.predicate["evidence"]["sha256"]:
            return None
        edition = room.load_edition(found.predicate["edition"]["name"])
        return found, score(room.parse(content, str(source)), edition)
    except (OSError, LeanmarkError):
        return None
