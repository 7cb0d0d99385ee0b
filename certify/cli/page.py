"""``leanmark page``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, ModelPath, folder_of
from certify.cli.output import json_option, print_json

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command, example="leanmark page graded --out site/resnet50")
@click.argument("folder", type=ModelPath())
@click.option("--out", type=click.Path(path_type=Path), help="Prefix of both output files [default: page in FOLDER].")
@click.option("--level", "wants_level", is_flag=True, help="Show the level that a scheme awarded.")
@click.option("--withdrawals", type=FILE, multiple=True, help="With --level: lists of withdrawn marks; repeatable.")
@json_option
def command(folder: Path, out: Path | None, wants_level: bool, withdrawals: tuple[Path, ...], as_json: bool) -> None:
    """Write the certificate of the model in FOLDER as a page for the public, as HTML and as SVG.

    Each statement is a row with its figures, their intervals and its signer; a notice in plain language says what the
    model does, for whom, what was measured and who to ask, as far as its maker declared it. The model is verified
    first; nothing is drawn if it is invalid (exit code 1) or not derived (5). A level is only shown with --level, as in
    leanmark label; if none may be drawn, the exit code is 3.
    """
    from certify.attest.verify import require_derived
    from certify.core.errors import UsageError
    from certify.core.files import write_text
    from certify.present.page.content import content_of
    from certify.present.page.drawing import svg_page
    from certify.present.page.html import html_page

    if withdrawals and not wants_level:
        raise UsageError("--withdrawals needs --level; add --level.")
    _, verification = require_derived(folder, ignoring=("label", "label_picture"))
    awarded: Any = None
    if wants_level:
        from certify.cli.level import awarded_level

        awarded = awarded_level(folder, withdrawals)[0]
    claims = [one.claims for one in verification.certificates]
    page = content_of(claims, verification.signatures, awarded)
    prefix = out or folder_of(folder) / "page"
    paths = {ending: prefix.with_name(f"{prefix.name}.{ending}") for ending in ("html", "svg")}
    write_text(paths["html"], html_page(page))
    write_text(paths["svg"], svg_page(page))
    if as_json:
        print_json({ending: str(path) for ending, path in paths.items()})
    else:
        click.echo("\n".join(str(path) for path in paths.values()))
