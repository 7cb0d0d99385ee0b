"""``leanmark tokenize``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json
from certify.data.arrays import PARTS

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    example="""\
leanmark tokenize train.tsv test.tsv --tokenizer my-bert --length 64 --out tokens
leanmark compress hf:my-bert --data npz:train=tokens/train.npz,test=tokens/test.npz
""",
)
@click.argument("texts", nargs=-1, required=True, type=FILE)
@click.option(
    "--tokenizer", "folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model folder with tokenizer.json.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Output folder.")
@click.option("--length", type=click.IntRange(4, 65_536), default=128, show_default=True, help="Tokens per text.")
@click.option("--classes", metavar="NAMES", help="Classes in the order of the model's outputs, separated by commas.")
@json_option
def command(texts: tuple[Path, ...], folder: Path, out: Path, length: int, classes: str | None, as_json: bool) -> None:
    """Split labelled TEXTS into the tokens of a model, and write them as data for leanmark.

    TEXTS are .tsv files (label, tab, text) or .jsonl files (objects with label and text). After that, neither certify
    nor anyone who checks a certificate needs the tokenizer.
    """
    from compress.models.texts import tokenize

    written = tokenize(texts, folder, out, length, None if classes is None else classes.split(","))
    if as_json:
        print_json({"files": [{**asdict(file), "path": str(file.path)} for file in written]})
        return
    click.echo(f"Classes, in the order of the model's outputs: {', '.join(written[0].classes)}")
    for file in written:
        click.echo(f"{file.path}: {file.samples} texts, {file.cut} of them truncated to {length} tokens")
    stems = {file.path.stem: file.path for file in written}
    named = ",".join(f"{stem}={path}" for stem, path in stems.items())
    # Only files named like parts fit into one specification, and one of them must be the test part.
    if len(written) == 1 or "test" not in stems or not set(stems) <= set(PARTS):
        named = str(written[0].path)
    click.echo(f"Use it with: --data npz:{named}")
