"""Further statements about a certified model, from the records of any assessment."""

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
    """Evaluate records, sign the result, and write the statement next to the model.

    Writes ``statements/NAME.json`` and its records next to the model. An existing label is redrawn to show the new
    statement, unless its certificate is not valid.

    Args:
        model: the file that the records are about.
        assessment: name of the assessment.
        records: record file of that assessment.
        edition: edition to evaluate by.
        name: display name of the model. Default: its file name.
        signer: signing key. Default: the user's own, created on first use.

    Returns:
        The statement; a refusal is a result too.

    Raises:
        UsageError: an assessment, edition or file does not exist, or the assessment seals its statement into the model.
        CertificateError: the records are malformed, or about another file.

    Example:
        >>> import certify
        >>> stated = certify.state("private/model.onnx", "privacy", "private/privacy.jsonl", edition="2026")
        >>> stated.claims.refused
        False
    """
    model, source = Path(model), Path(records)
    known = assessments()
    if assessment not in known:
        raise unknown_name("assessment", assessment, known)
    selected = known[assessment]
    if selected.sealed:
        raise UsageError(f"{assessment} seals its statement into the measured file; use leanmark certify to make it.")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UsageError(f"The records {source} cannot be read: {error.strerror}.") from error
    try:
        parsed = selected.parse(content, str(source))
        issued = issue(selected, model, parsed, edition, signer or signing_key(), model.parent, Stated(name))
    except NOT_DERIVABLE as error:
        # The error already explains the refusal.
        if isinstance(error, LeanmarkError):
            raise
        raise CertificateError(f"{source}: no {assessment} statement follows from it: {error}.") from error
    redraw_label(model)
    return issued


def redraw_label(model: Path) -> None:
    """Redraw the label next to a model, if there is one, to show all its statements.

    The label of an invalid certificate stays unchanged.
    """
    if (model.parent / LABEL_SVG_NAME).is_file():
        with contextlib.suppress(CertificateError, NotDerivedError):  # an invalid certificate is not drawn
            certificate, found = require_derived(model, ignoring=("label", "label_picture"))
            write_label(certificate, model.parent, found.certificates[1:])
