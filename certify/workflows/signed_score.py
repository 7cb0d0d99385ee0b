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
    found = next(
        (certificate for certificate in verification.certificates if isinstance(certificate.assessment, Scorecard)),
        None,
    )
    if found is None:
        return None
    scorecard = Scorecard()
    source = records_path(statement_path(path.parent, scorecard.name))
    try:
        content = source.read_bytes()
        # The records must be those that were signed; the digest also stops a count from being swapped.
        if hashlib.sha256(content).hexdigest() != found.predicate["evidence"]["sha256"]:
            return None
        # Counted again, so that the signed figure never decides.
        edition = scorecard.load_edition(found.predicate["edition"]["name"])
        return found, score(scorecard.parse(content, str(source)), edition)
    except (OSError, LeanmarkError):
        return None
