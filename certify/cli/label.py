"""``leanmark label``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, folder_of, withdrawals_option
from certify.cli.output import json_option, print_json
from certify.core.errors import UsageError

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark label graded/model.onnx --out images/resnet50")
@click.argument("file", type=ModelPath())
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Prefix of the two output files.  [default: label, next to FILE]"
)
@click.option("--width", "width_px", type=click.IntRange(100, 8000), default=800, show_default=True,
              help="Width of the PNG in pixels.")  # fmt: skip
@click.option("--level", "wants_level", is_flag=True, help="Draw the level that a scheme awarded, as mark.svg.")
@withdrawals_option
@json_option
def command(
    file: Path,
    certificate: Path | None,
    evidence: Path | None,
    out: Path | None,
    width_px: int,
    wants_level: bool,
    withdrawals: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Redraw the label of FILE's certificate, as SVG and PNG.

    FILE is verified first. Nothing is drawn if its certificate is invalid (exit code 1) or if its figures do not follow
    from the evidence (5). To check who signed it, run leanmark verify.

    With --level, a level is drawn if a certification scheme whose key you know (leanmark trust scheme) awarded it and
    no check contradicts it. Otherwise nothing is drawn, the rule is named, and the exit code is 3.
    """
    if withdrawals and not wants_level:
        raise UsageError("--withdrawals needs --level; add --level.")
    from certify.core.files import write_bytes, write_text
    from certify.present.label import render
    from certify.present.label.sidecars import label_of

    if wants_level:
        drawing, stem = _mark(file, withdrawals), "mark"
    else:
        drawing, stem = label_of(*verified_certificates(file, certificate, evidence)), "label"
    image = render(drawing, width_px)
    prefix = out or folder_of(file) / stem
    # Not `with_suffix`: a prefix such as resnet50-v1.5 has a dot of its own.
    paths = {ending: prefix.with_name(f"{prefix.name}.{ending}") for ending in ("svg", "png")}
    write_text(paths["svg"], drawing)
    write_bytes(paths["png"], image)
    if as_json:
        print_json({ending: str(path) for ending, path in paths.items()})
    else:
        click.echo("\n".join(str(path) for path in paths.values()))


def _mark(file: Path, withdrawals: Sequence[Path]) -> str:
    """Return the drawing of the level, if one may be drawn."""
    from certify.cli.level import awarded_level
    from certify.present.mark import draw_mark

    awarded, claims = awarded_level(file, withdrawals)
    return draw_mark(claims, awarded)


def verified_certificates(
    file: Path, certificate: Path | None, evidence: Path | None
) -> tuple[Certificate, Sequence[Certificate]]:
    """Return a file's certificate and its further statements, verified and derived; its old label is not checked."""
    from certify.attest.verify import require_derived

    # The old label is about to be replaced, so an error in it must not prevent that.
    read, verification = require_derived(file, certificate, evidence, ignoring=("label", "label_picture"))
    return read, verification.certificates[1:]
