"""The label next to a model: drawn, written, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from certify.assessment.not_installed import NotInstalled
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.attest.certificate import LABEL_PNG_NAME, LABEL_SVG_NAME, Certificate
from certify.attest.checks_sidecars import beside
from certify.core.errors import LeanmarkError
from certify.core.files import write_bytes, write_text
from certify.core.finding import Finding
from certify.present.label.layout import draw
from certify.present.label.png import can_render, drawing, render, renderer

NOT_COMPARED = "may show an assessment that is not installed, so it was not compared."
SIGNERS_WORDS = "uses the signer's words, which differ from the derived ones. Redraw it with leanmark label."


def label_of(certificate: Certificate, others: Sequence[Certificate] = ()) -> str:
    """Draw the label of a certificate as SVG, with one row per further statement."""
    return draw(certificate.claims, [other.claims for other in others])


def _renderer(certificate: Certificate) -> str | None:
    """Return the renderer of the label; None if the statement does not name one, so that it must be this one."""
    claims = certificate.claims
    return claims.renderer if isinstance(claims, EfficiencyClaims) else None


def write_label(certificate: Certificate, folder: Path, others: Sequence[Certificate] = ()) -> None:
    """Write the label of a certificate to a folder, as SVG, and as PNG if the extra ``label`` is installed."""
    svg = label_of(certificate, others)
    write_text(folder / LABEL_SVG_NAME, svg)
    if can_render():
        write_bytes(folder / LABEL_PNG_NAME, render(svg))


def check_label(certificate: Certificate, folders: Sequence[Path], others: Sequence[Certificate]) -> Iterator[Finding]:
    """Check that the label next to a model matches its certificate and further statements."""
    yield _check("label", LABEL_SVG_NAME, _unlike_svg, _as_svg, certificate, folders, others)
    yield _check("label_picture", LABEL_PNG_NAME, _unlike_png, _as_png, certificate, folders, others)


def _unlike_svg(certificate: Certificate) -> Finding | None:
    """Return a finding if another version of the drawing made the label; None if this version did."""
    # An SVG depends only on the version of the drawing; the renderer after the comma matters for the PNG.
    used = (_renderer(certificate) or drawing()).partition(",")[0]
    sentence = f"Drawn by {used}, but this leanmark draws {drawing()}: not compared. Redraw it with leanmark label."
    return None if used == drawing() else Finding("label", "note", sentence)


def _unlike_png(certificate: Certificate) -> Finding | None:
    used = _renderer(certificate) or renderer()
    # Other versions of resvg may differ in single pixels, which does not discredit the certificate.
    sentence = f"Drawn by {used}; {renderer()} here may give different bytes."
    return None if used == renderer() else Finding("label_picture", "skipped", sentence)


def _as_svg(certificate: Certificate, others: Sequence[Certificate]) -> bytes:
    return label_of(certificate, others).encode()


def _as_png(certificate: Certificate, others: Sequence[Certificate]) -> bytes:
    return render(label_of(certificate, others))


def _check(
    check: str,
    file: str,
    unlike: Callable[[Certificate], Finding | None],
    draw_as: Callable[[Certificate, Sequence[Certificate]], bytes],
    certificate: Certificate,
    folders: Sequence[Path],
    others: Sequence[Certificate],
) -> Finding:
    path = beside(file, folders)
    if path is None:
        return Finding(check, "skipped", f"{file} was not found next to the file.")
    try:
        # Checked before drawing, because comparing an older but correct label would report a forgery.
        if (otherwise := unlike(certificate)) is not None:
            return otherwise
        if _holds(path, draw_as(certificate, others)):
            return Finding(check, "pass", f"{file} is the label of this certificate.")
        # Ordered by what the reader should do: redraw with further statements, redraw with derived words, distrust.
        if others and _holds(path, draw_as(certificate, ())):
            return Finding(
                check, "note", f"{path} lacks the further statements about the model. Redraw it with leanmark label."
            )
        if certificate.derived and _holds(path, draw_as(replace(certificate, derived={}), others)):
            return Finding(check, "note", f"{path} {SIGNERS_WORDS}")
    except (LeanmarkError, ValueError) as error:
        return Finding(check, "fail", f"The certificate cannot be drawn as a label: {error}")
    # A statement of an assessment that is not installed has no words here, so its row cannot be redrawn.
    if any(isinstance(statement.assessment, NotInstalled) for statement in (certificate, *others)):
        return Finding(check, "skipped", f"{path} {NOT_COMPARED}")
    return Finding(check, "fail", f"{path} is not the label of this certificate.")


def _holds(path: Path, content: bytes) -> bool:
    # The size is compared first, because reading a file of any size could exhaust the memory.
    return path.stat().st_size == len(content) and path.read_bytes() == content
