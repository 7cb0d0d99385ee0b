"""Check of the marks next to a model, for its verification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from certify.attest.trust import TrustStore, load_store
from certify.core.errors import LeanmarkError
from certify.core.finding import Finding
from certify.core.text import clean
from certify.scorecard.assessment import Scorecard
from certify.scorecard.mark import LapsedError, mark_files, read_mark

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate


def check_marks(certificate: Certificate, folders: Sequence[Path], others: Sequence[Certificate]) -> Iterable[Finding]:
    """Report the marks next to a model in its verification; ``leanmark mark show`` judges them."""
    scorecard = next((statement for statement in others if isinstance(statement.assessment, Scorecard)), None)
    try:
        # The trust store is read only if there is a mark, so that other verifications need no home directory.
        files = mark_files(folders[:1])
        store = load_store() if files else TrustStore()
    except LeanmarkError as error:
        yield Finding("mark", "fail", str(error))
        return
    for file in files:
        if scorecard is None:
            yield Finding(
                "mark", "note", f"{clean(file.name)} is a mark, but there is no signed score next to the model."
            )
            continue
        try:
            mark = read_mark(file, scorecard)
        except LapsedError as error:
            # A lapsed mark is not an error, because the model was counted again.
            yield Finding("mark", "note", clean(error))
            continue
        except LeanmarkError as error:
            yield Finding("mark", "fail", clean(error))
            continue
        name = store.scheme_of(mark.key)
        message = f"the scheme {name}, which you know" if name else f"'{clean(mark.scheme.name)}', named by the maker"
        # A note instead of a pass, because the reader decides whether a scheme counts.
        yield Finding("mark", "note", f"There is a mark by {message}; run leanmark mark show to check it.")
