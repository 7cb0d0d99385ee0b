"""The label of a certificate as it lies beside a model: drawn, written, and checked."""

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
    yield _check("label", LABEL_SVG_NAME, _unlike_svg, _as_svg, certificate, folders, others)
    yield _check("label_picture", LABEL_PNG_NAME, _unlike_png, _as_png, certificate, folders, others)


def _unlike_svg(certificate: Certificate) -> Finding | None:
    """What is said where another version of the drawing made the label; None where this one did."""
    used = (_renderer(certificate) or drawing()).partition(",")[0]
    sentence = f"Drawn by {used}, this leanmark draws {drawing()}: not compared. Draw it again."
    return None if used == drawing() else Finding("label", "note", sentence)


def _unlike_png(certificate: Certificate) -> Finding | None:
    used = _renderer(certificate) or renderer()
    sentence = f"Drawn by {used}; {renderer()} here may give other bytes."
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
        return Finding(check, "skipped", f"{file} does not lie beside the file.")
    try:
        if (otherwise := unlike(certificate)) is not None:
            return otherwise
        if _holds(path, draw_as(certificate, others)):
            return Finding(check, "pass", f"{file} is the label of this certificate.")
        if others and _holds(path, draw_as(certificate, ())):
            return Finding(check, "note", f"{path} lacks the statements beside the model. Draw it again.")
        if certificate.derived and _holds(path, draw_as(replace(certificate, derived={}), others)):
            return Finding(check, "note", f"{path} {SIGNERS_WORDS}")
    except (LeanmarkError, ValueError) as error:
        return Finding(check, "fail", f"No label can be drawn from the certificate: {error}")
    if any(isinstance(one.assessment, NotInstalled) for one in (certificate, *others)):
        return Finding(check, "skipped", f"{path} {NOT_COMPARED}")
    return Finding(check, "fail", f"{path} is not the label of this certificate.")


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content
