"""``leanmark badge``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, folder_of
from certify.cli.label import verified_certificates
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark badge graded/model.onnx --out badge.svg")
@click.argument("file", type=ModelPath())
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@click.option("--out", type=OutFile(), help="Output file.  [default: badge.svg next to FILE]")
@json_option
def command(file: Path, certificate: Path | None, evidence: Path | None, out: Path | None, as_json: bool) -> None:
    """Draw an SVG badge for a README with the letter of FILE's certificate and the energy saved.

    FILE is verified first. Nothing is drawn if its certificate is invalid (exit code 1) or if its figures do not follow
    from the evidence (5). To check who signed it, run leanmark verify.
    """
    from certify.core.files import write_text
    from certify.present.label import badge

    read, _ = verified_certificates(file, certificate, evidence)
    path = out or folder_of(file) / "badge.svg"
    from certify.present.statements import of_efficiency

    write_text(path, badge(of_efficiency(read)))
    if as_json:
        print_json({"badge": str(path)})
    else:
        click.echo(str(path))
