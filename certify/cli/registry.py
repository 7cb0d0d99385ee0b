"""``leanmark registry``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, write_example
from certify.cli.output import json_option, print_json

EXAMPLE = "leanmark registry build certified --out site\n"


class Group(click.Group):
    """Commands of which the help ends with an example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the commands."""
        write_example(EXAMPLE, formatter)


@click.group(cls=Group)
def command() -> None:
    """Publish certified models as a static page."""


@command.command(cls=Command, example=EXAMPLE)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the page.")
@click.option("--trust", multiple=True, metavar="PUBKEY", help="Public key whose signature counts: PEM file or hex.")
@click.option("--made", help="UTC time of the check, for a page that can be made again [now].")
@json_option
def build(folder: Path, out: Path, trust: tuple[str, ...], made: str | None, as_json: bool) -> None:
    """Check every certified model below FOLDER, folders and packs, and write a page that lists all of them.

    The page is searched and filtered by task, class of devices and state, needs no server, and loads nothing. Models
    that are expired, withdrawn or not valid are listed with the reason; of the last two no figure is shown. Each that
    holds has its report and its signed statements beside the page.
    """
    from certify.core.text import clean
    from certify.present.registry import STATES
    from certify.registering import build as make

    registry = make(folder, out, trust=trust, made=made)
    counts = {state: registry.count(state) for state in STATES}
    if as_json:
        models = [{"place": one.place, "state": one.state, "reasons": list(one.reasons), "sha256": one.certificate}
                  for one in registry.entries]  # fmt: skip
        print_json({"page": str(registry.page), "counts": counts, "models": models})
        return
    for one in registry.entries:
        click.echo(clean(f"{one.state}: {one.place}{': ' if one.reasons else ''}{' '.join(one.reasons)}"))
    click.echo(f"{registry.page}: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}")
