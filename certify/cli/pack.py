"""``leanmark pack``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json
from certify.cli.values import OutFile


@click.command(cls=Command, example="leanmark pack build/resnet50 --out resnet50.zip\nleanmark audit resnet50.zip")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=OutFile(), help="Output file.  [default: FOLDER.zip next to FOLDER]")
@json_option
def command(folder: Path, out: Path | None, as_json: bool) -> None:
    """Bundle the certified model in FOLDER and its sidecar files into one file.

    A pack holds the model, the baseline, the certificate, the evidence, the lineage, further statements, the label and
    the public key. leanmark verify, audit, gate and report accept it in place of a model. It is a zip archive, and
    equal folders give identical packs. Exit code 1: the certificate is not valid. 5: the evidence is missing.
    """
    from certify.attest.pack import pack

    path, names = pack(folder, out)
    if as_json:
        print_json({"pack": str(path), "files": list(names)})
    else:
        click.echo(f"{path}: {', '.join(names)}")
