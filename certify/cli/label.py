"""``leanmark label``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, ModelPath, folder_of
from certify.cli.output import json_option, print_json

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark label graded/model.onnx --out images/resnet50")
@click.argument("file", type=ModelPath())
@click.option("--certificate", type=FILE, help="Certificate [sealed in FILE, else certificate.json beside it].")
@click.option("--evidence", type=FILE, help="Evidence [evidence.jsonl beside FILE].")
@click.option("--out", type=click.Path(path_type=Path), help="Prefix of the two files [label, beside FILE].")
@click.option("--width", "width_px", type=click.IntRange(100, 8000), default=800, show_default=True,
              help="Width of the PNG in pixels.")  # fmt: skip
@json_option
def command(
    file: Path, certificate: Path | None, evidence: Path | None, out: Path | None, width_px: int, as_json: bool
) -> None:
    """Draw the label of FILE's certificate again, as SVG and PNG.

    FILE is verified first: nothing is drawn from a certificate that is not valid (exit code 1), or whose figures do not
    follow from evidence (5). Who signed is a question for leanmark verify.
    """
    from certify.core.files import write_bytes, write_text
    from certify.present.label import render
    from certify.present.label.sidecars import label_of

    drawing = label_of(*shown_certificates(file, certificate, evidence))
    image = render(drawing, width_px)
    prefix = out or folder_of(file) / "label"
    paths = {ending: prefix.with_name(f"{prefix.name}.{ending}") for ending in ("svg", "png")}
    write_text(paths["svg"], drawing)
    write_bytes(paths["png"], image)
    if as_json:
        print_json({ending: str(path) for ending, path in paths.items()})
    else:
        click.echo("\n".join(str(path) for path in paths.values()))


def shown_certificates(
    file: Path, certificate: Path | None, evidence: Path | None
) -> tuple[Certificate, Sequence[Certificate]]:
    """The certificate of a file and the further statements, verified and derived, whatever its old label shows."""
    from certify.attest.verify import require_derived

    read, verification = require_derived(file, certificate, evidence, ignoring=("label", "label_picture"))
    return read, verification.certificates[1:]
