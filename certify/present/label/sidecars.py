"""The label of a certificate as it lies beside a model: drawn, written, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from certify.attest.certificate import LABEL_PNG_NAME, LABEL_SVG_NAME, Certificate
from certify.attest.checks_sidecars import beside
from certify.core.errors import LeanmarkError
from certify.core.files import write_bytes, write_text
from certify.core.finding import Finding
from certify.present.claims import efficiency_claims
from certify.present.label.layout import draw
from certify.present.label.png import can_render, drawing, render, renderer


def label_of(certificate: Certificate) -> str:
    """The label as SVG."""
    return draw(efficiency_claims(certificate.predicate, certificate.digest))


def write_label(certificate: Certificate, folder: Path) -> None:
    """Write the label of a certificate into a folder, as SVG, and as PNG where the extra ``label`` is installed."""
    svg = label_of(certificate)
    write_text(folder / LABEL_SVG_NAME, svg)
    if can_render():
        write_bytes(folder / LABEL_PNG_NAME, render(svg))


def check_label(certificate: Certificate, folders: Sequence[Path]) -> Iterator[Finding]:
    """Whether the label beside a model is that of its certificate."""
    yield _check_svg(certificate, beside(LABEL_SVG_NAME, folders))
    yield _check_png(certificate, beside(LABEL_PNG_NAME, folders))


def _check_svg(certificate: Certificate, path: Path | None) -> Finding:
    if path is None:
        return Finding("label", "skipped", f"{LABEL_SVG_NAME} does not lie beside the file.")
    used = certificate.renderer.partition(",")[0]
    if used != drawing():
        return Finding(
            "label", "note", f"Drawn by {used}, this leanmark draws {drawing()}: not compared. Draw it again."
        )
    try:
        drawn = label_of(certificate).encode()
    except LeanmarkError as error:
        return Finding("label", "fail", f"No label can be drawn from the certificate: {error}")
    if path.stat().st_size != len(drawn) or path.read_bytes() != drawn:
        return Finding("label", "fail", f"{path} is not the label of this certificate.")
    return Finding("label", "pass", f"{LABEL_SVG_NAME} is the label of this certificate.")


def _check_png(certificate: Certificate, path: Path | None) -> Finding:
    if path is None:
        return Finding("label_picture", "skipped", f"{LABEL_PNG_NAME} does not lie beside the file.")
    used = certificate.renderer
    if used != renderer():
        return Finding("label_picture", "skipped", f"Drawn by {used}; {renderer()} here may give other bytes.")
    try:
        drawn = render(label_of(certificate))
    except (LeanmarkError, ValueError) as error:
        return Finding("label_picture", "fail", f"No label can be drawn from the certificate: {error}")
    if path.stat().st_size != len(drawn) or path.read_bytes() != drawn:
        return Finding("label_picture", "fail", f"{path} is not the label of this certificate.")
    return Finding("label_picture", "pass", f"{LABEL_PNG_NAME} is the label of this certificate.")
