"""``leanmark report``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, ModelPath, folder_of
from certify.cli.output import carbon_option, json_option, print_json
from certify.cli.values import OutFile

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark report graded/model.onnx --out report.html")
@click.argument("file", type=ModelPath())
@click.option(
    "--certificate", type=FILE, help="Certificate file.  [default: the one sealed in FILE, else certificate.json]"
)
@click.option("--evidence", type=FILE, help="Evidence file.  [default: evidence.jsonl next to FILE]")
@click.option("--out", type=OutFile(), help="Output file.  [default: report.html next to FILE]")
@click.option("--beside", type=FILE, multiple=True, help="The same model, certified on another machine; repeatable.")
@carbon_option
@json_option
def command(
    file: Path, certificate: Path | None, evidence: Path | None, out: Path | None, beside: tuple[Path, ...],
    carbon_intensity: float | None, embodied: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a full report on FILE, a certified model, as one HTML page.

    The page is self-contained, loads nothing and runs no script: label, figures with intervals, windows over time,
    classes, passes, guards, and how to check it. FILE is verified first. Nothing is drawn if its certificate is invalid
    (exit code 1) or if its figures do not follow from the evidence (5). With --beside, certificates of the same model
    from other machines are shown side by side, and the worst letter is marked.
    """
    from certify.present.report import report

    path = out or folder_of(file) / "report.html"
    report(
        file, certificate=certificate, evidence=evidence, out=path, beside=beside, carbon_intensity=carbon_intensity,
        embodied=embodied,
    )  # fmt: skip
    if as_json:
        print_json({"report": str(path)})
    else:
        click.echo(str(path))
