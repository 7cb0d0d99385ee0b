"""``leanmark witness``: check witnesses for a model, or add your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command, Group, ModelPath, governed, key_option
from certify.cli.output import json_option, print_json, print_rich
from certify.core import exit_codes

if TYPE_CHECKING:
    from rich.table import Table

    from certify.workflows.witness_game import Checks

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXAMPLE = """\
leanmark witness check graded/model.onnx --data npz:test=test.npz
leanmark witness add graded/model.onnx mine.npz --data npz:test=test.npz
"""


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Check adversarial witnesses for a model, or add your own: the stated robust accuracy can only fall."""


@command.command(cls=Command, example="leanmark witness check graded/model.onnx new.npz --data npz:test=test.npz")
@click.argument("model", type=ModelPath(packs=False))
@click.argument("files", type=FILE, nargs=-1)
@click.option("--data", required=True, help="Data that the witnesses were made from.")
@click.option("--baseline", type=FILE, help="Baseline that some were made for.  [default: baseline.onnx next to MODEL]")
@click.option("--preprocess", type=FILE, help="Preprocessing contract of MODEL; sealed files have their own.")
@json_option
@governed
def check(
    model: Path, files: tuple[Path, ...], data: str, baseline: Path | None, preprocess: Path | None, as_json: bool
) -> None:
    """Check the witnesses in FILES and those next to MODEL, with one forward pass each.

    Exit code 1: the robust accuracy is lower than stated. 2: the witnesses belong to another model or other data.
    """
    from certify.workflows.witness_game import check_witnesses

    found = check_witnesses(model, files, data=data, baseline=baseline, preprocess=preprocess)
    # If the accuracy falls, the stated claim fails, not this command.
    fell = any(row.stated is not None and row.now < row.stated for row in found.standing)
    if as_json:
        print_json(found.to_json())
    else:
        refused = (f"{file.file}: {why}" for file in found.files for why in file.refused)
        print_rich(_files(found), _standing(found), *refused)
    click.get_current_context().exit(exit_codes.FAILED if fell else exit_codes.DONE)


@command.command(cls=Command, example="leanmark witness add graded/model.onnx mine.npz --data npz:test=test.npz")
@click.argument("model", type=ModelPath(packs=False))
@click.argument("file", type=FILE)
@click.option("--data", required=True, help="Data that the witnesses were made from.")
@click.option("--baseline", type=FILE, help="Baseline that they were made for.  [default: baseline.onnx next to MODEL]")
@click.option("--preprocess", type=FILE, help="Preprocessing contract of MODEL; sealed files have their own.")
@click.option("--remark", help="Remark for human readers, one sentence.")
@key_option
@json_option
@governed
def add(
    model: Path, file: Path, data: str, baseline: Path | None, preprocess: Path | None, remark: str | None,
    key: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Add the witnesses in FILE to those next to MODEL, signed with your key; anybody may add some.

    Exit code 2: no witness in FILE fools MODEL, or they belong to another model or other data.
    """
    from certify.attest.keys import signing_key
    from certify.workflows.witness_game import add_witnesses

    found, path = add_witnesses(
        model, file, data=data, baseline=baseline, preprocess=preprocess, remark=remark, signer=signing_key(key)
    )
    if as_json:
        print_json({**found.to_json(), "statement": str(path)})
    else:
        click.echo(f"{found.held} of {found.witnesses} witnesses fool the model.\n{path}")


def _files(found: Checks) -> Table:
    from rich.table import Table

    from certify.core.text import clean

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("Witnesses", "made for", "in file", "fool the model", "added by"):
        table.add_column(heading)
    for file in found.files:
        signer = "-" if file.signer is None else file.signer.key_id[:16]
        table.add_row(clean(file.file), file.arm, str(file.witnesses), str(file.held), signer)
    return table


def _standing(found: Checks) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for heading in ("Change", "stated: at most", "now: at most", "samples"):
        table.add_column(heading, justify="right")
    for row in found.standing:
        stated = "-" if row.stated is None else f"{100 * row.stated:.1f} %"
        table.add_row(f"{row.eps}/255", stated, f"{100 * row.now:.1f} %", str(row.samples))
    return table
