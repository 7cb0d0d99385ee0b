"""The label of a certificate as it lies beside a model: drawn, written, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.not_installed import NotInstalled
from certify.attest.certificate import LABEL_PNG_NAME, LABEL_SVG_NAME, Certificate
from certify.attest.checks_sidecars import beside
from certify.core.errors import LeanmarkError
from certify.core.files import write_bytes, write_text
from certify.core.finding import Finding
from certify.present.label.layout import draw
from certify.present.label.png import can_render, drawing, render, renderer

NOT_COMPARED = "may show an assessment that is not installed, so it was not compared."
SIGNERS_WORDS = "is in its signer's words, and others follow. Draw it again."


def label_of(certificate: Certificate, others: Sequence[Certificate] = ()) -> str:
    """Draw the label of a certificate as SVG, with a row for each further statement."""
    return draw(certificate.claims, [other.claims for other in others])


def _renderer(certificate: Certificate) -> str | None:
    """What drew the label; None where the statement does not say, so that it must be what is drawn here."""
    claims = certificate.claims
    return claims.renderer if isinstance(claims, EfficiencyClaims) else None


def write_label(certificate: Certificate, folder: Path, others: Sequence[Certificate] = ()) -> None:
    """Write the label of a certificate into a folder, as SVG, and as PNG where the extra ``label`` is installed."""
    svg = label_of(certificate, others)
    write_text(folder / LABEL_SVG_NAME, svg)
    if can_render():
        write_bytes(folder / LABEL_PNG_NAME, render(svg))


def check_label(certificate: Certificate, folders: Sequence[Path], others: Sequence[Certificate]) -> Iterator[Finding]:
    """Check that the label beside a model is that of its certificate and of the statements beside it."""
    yield _check_svg(certificate, beside(LABEL_SVG_NAME, folders), others)
    yield _check_png(certificate, beside(LABEL_PNG_NAME, folders), others)


def _check_svg(certificate: Certificate, path: Path | None, others: Sequence[Certificate]) -> Finding:
    if path is None:
        return Finding("label", "skipped", f"{LABEL_SVG_NAME} does not lie beside the file.")
    try:
        used = (_renderer(certificate) or drawing()).partition(",")[0]
        if used != drawing():
            sentence = f"Drawn by {used}, this leanmark draws {drawing()}: not compared. Draw it again."
            return Finding("label", "note", sentence)
        drawn, bare = (label_of(certificate, further).encode() for further in (others, ()))
    except LeanmarkError as error:
        return Finding("label", "fail", f"No label can be drawn from the certificate: {error}")
    if _holds(path, bare) and bare != drawn:
        return Finding("label", "note", f"{path} lacks the statements beside the model. Draw it again.")
    if certificate.derived and _holds(path, label_of(replace(certificate, derived={}), others).encode()):
        return Finding("label", "note", f"{path} {SIGNERS_WORDS}")
    if not _holds(path, drawn):
        if any(isinstance(one.assessment, NotInstalled) for one in (certificate, *others)):
            return Finding("label", "skipped", f"{path} {NOT_COMPARED}")
        return Finding("label", "fail", f"{path} is not the label of this certificate.")
    return Finding("label", "pass", f"{LABEL_SVG_NAME} is the label of this certificate.")


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _check_png(certificate: Certificate, path: Path | None, others: Sequence[Certificate]) -> Finding:
    if path is None:
        return Finding("label_picture", "skipped", f"{LABEL_PNG_NAME} does not lie beside the file.")
    try:
        used = _renderer(certificate) or renderer()
        if used != renderer():
            return Finding("label_picture", "skipped", f"Drawn by {used}; {renderer()} here may give other bytes.")
        known = [render(label_of(certificate, further)) for further in ((others, ()) if others else ((),))]
    except (LeanmarkError, ValueError) as error:
        return Finding("label_picture", "fail", f"No label can be drawn from the certificate: {error}")
    if others and _holds(path, known[-1]):
        return Finding("label_picture", "note", f"{path} lacks the statements beside the model. Draw it again.")
    if certificate.derived and _holds(path, render(label_of(replace(certificate, derived={}), others))):
        return Finding("label_picture", "note", f"{path} {SIGNERS_WORDS}")
    if not _holds(path, known[0]):
        if any(isinstance(one.assessment, NotInstalled) for one in (certificate, *others)):
            return Finding("label_picture", "skipped", f"{path} {NOT_COMPARED}")
        return Finding("label_picture", "fail", f"{path} is not the label of this certificate.")
    return Finding("label_picture", "pass", f"{LABEL_PNG_NAME} is the label of this certificate.")
