"""``leanmark page``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certify.cli.command import Command, ModelPath, folder_of, withdrawals_option
from certify.cli.output import json_option, print_json


@click.command(cls=Command, example="leanmark page graded --out site/resnet50")
@click.argument("folder", type=ModelPath())
@click.option(
    "--out", type=click.Path(path_type=Path), help="Prefix of the two files.  [default: page, next to the model]"
)
@click.option("--level", "wants_level", is_flag=True, help="Show the level that a scheme awarded.")
@withdrawals_option
@json_option
def command(folder: Path, out: Path | None, wants_level: bool, withdrawals: tuple[Path, ...], as_json: bool) -> None:
    """Write a page for the public about the model in FOLDER, as HTML and as SVG.

    Each statement is a row with its figures, their intervals and who vouches for them. A notice in plain language says
    what was measured and, as far as the maker declared it, what the model is for, on whom it is used and whom to ask.

    The model is verified first. Exit code 1: its certificate is not valid. 3: --level was given, but no level may be
    drawn. 5: evidence is missing.
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
    claims = [certificate.claims for certificate in verification.certificates]
    page = content_of(claims, verification.signatures, awarded)
    prefix = out or folder_of(folder) / "page"
    paths = {ending: prefix.with_name(f"{prefix.name}.{ending}") for ending in ("html", "svg")}
    write_text(paths["html"], html_page(page))
    write_text(paths["svg"], svg_page(page))
    if as_json:
        print_json({ending: str(path) for ending, path in paths.items()})
    else:
        click.echo("\n".join(str(path) for path in paths.values()))
