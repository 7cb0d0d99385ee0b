"""``leanmark registry``."""

from __future__ import annotations

from pathlib import Path

import click

from certify.cli.command import Command, Group, trust_option
from certify.cli.output import json_option, print_json

EXAMPLE = "leanmark registry build certified --out site\n"


@click.group(cls=Group, example=EXAMPLE)
def command() -> None:
    """Publish certified models as a static page."""


@command.command(cls=Command, example=EXAMPLE)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Output folder for the page."
)
@trust_option
@click.option("--made", help="UTC time of the check, for reproducible pages.  [default: now]")
@json_option
def build(folder: Path, out: Path, trust: tuple[str, ...], made: str | None, as_json: bool) -> None:
    """Check every certified model below FOLDER, in folders and packs, and write a page that lists them.

    The page can be searched and filtered by task, device class and state; it needs no server and loads nothing. Models
    that are expired, withdrawn or not valid are listed with the reason; no figures are shown for the last two. Each
    valid model has its report and its signed statements next to the page.
    """
    from certify.core.text import clean
    from certify.present.registry import STATES
    from certify.workflows.registry_page import build as make

    registry = make(folder, out, trust=trust, made=made)
    counts = {state: registry.count(state) for state in STATES}
    if as_json:
        models = [
            {"place": entry.place, "state": entry.state, "reasons": list(entry.reasons), "sha256": entry.certificate}
            for entry in registry.entries
        ]
        print_json({"page": str(registry.page), "counts": counts, "models": models})
        return
    for entry in registry.entries:
        click.echo(clean(f"{entry.state}: {entry.place}{': ' if entry.reasons else ''}{' '.join(entry.reasons)}"))
    click.echo(f"{registry.page}: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}")
