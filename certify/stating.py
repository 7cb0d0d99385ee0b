"""A further statement about a certified model, from the records of any assessment."""

from __future__ import annotations

import contextlib
from pathlib import Path

from certify.assessment.assessment import NOT_DERIVABLE
from certify.assessment.registry import assessments
from certify.attest.certificate import LABEL_SVG_NAME, Certificate
from certify.attest.issue import Stated, issue
from certify.attest.keys import SigningKey, signing_key
from certify.attest.verify import require_derived
from certify.core.errors import CertificateError, LeanmarkError, NotDerivedError, UsageError
from certify.core.suggest import unknown_name
from certify.present.label.sidecars import write_label


def state(
    model: str | Path,
    assessment: str,
    records: str | Path,
    *,
    edition: str,
    name: str | None = None,
    signer: SigningKey | None = None,
) -> Certificate:
    """Judge records, sign what follows from them, and lay the statement beside the model.

    Writes ``statements/NAME.json`` and its records beside the model, and draws a label that lies there again, so that
    it shows the new statement; one of a certificate that does not hold stays as it is.

    Args:
        model: the file that the records are about.
        assessment: name of the assessment.
        records: its record file.
        edition: by whose rules to judge.
        name: of the model, for people; the file's name by default.
        signer: signing key; the user's own, made on first use, by default.

    Returns:
        The statement; a refusal is a result too.

    Raises:
        UsageError: there is no such assessment, edition or file, or the assessment seals its statement.
        CertificateError: the records are malformed, or about another file.
    """
    model, source = Path(model), Path(records)
    known = assessments()
    if assessment not in known:
        raise unknown_name("assessment", assessment, known)
    room = known[assessment]
    if room.sealed:
        raise UsageError(f"{assessment} seals its statement into the file it measured; leanmark certify makes it.")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UsageError(f"The records {source} cannot be read: {error.strerror}.") from error
    try:
        parsed = room.parse(content, str(source))
        issued = issue(room, model, parsed, edition, signer or signing_key(), model.parent, Stated(name))
    except NOT_DERIVABLE as error:
        if isinstance(error, LeanmarkError):
            raise
        raise CertificateError(f"{source}: no statement of {assessment} follows from it: {error}.") from error
    redraw_label(model)
    return issued


def redraw_label(model: Path) -> None:
    """Draw the label beside a model again, where there is one, so that it shows all statements that lie there.

    A label of a certificate that does not hold stays as it is.
    """
    if (model.parent / LABEL_SVG_NAME).is_file():
        with contextlib.suppress(CertificateError, NotDerivedError):  # what does not hold is not drawn
            certificate, found = require_derived(model, ignoring=("label", "label_picture"))
            write_label(certificate, model.parent, found.certificates[1:])
