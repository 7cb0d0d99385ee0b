"""``leanmark passes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json, print_rich
from certify.core.text import clean

if TYPE_CHECKING:
    from rich.table import Table

    from compress.passes import Parameter


@click.command(
    cls=Command,
    example="""\
leanmark passes
leanmark passes structured_prune
""",
)
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the passes, or describe NAME: what it does, its paper, when not to use it, and its parameters."""
    from compress import passes

    if name is None:
        found, unusable = passes.PASSES.survey(_summary)
        if as_json:
            print_json({"passes": found, "unusable": unusable})
            return
        wide = max(map(len, found))
        for each, values in found.items():
            click.echo(f"{each:<{wide}} {values['stage']:<6} {values['summary']}")
        for why in unusable.values():
            click.echo(clean(why))
        return
    text, parameters = passes.describe(name)
    if as_json:
        print_json({"pass": name, **_summary(name), "text": text, "parameters": [vars(each) for each in parameters]})
        return
    print_rich(_reflowed(text), _table(parameters))


def _summary(name: str) -> dict[str, Any]:
    from compress import passes

    kind = passes.find(name)
    text, _ = passes.describe(name)
    return {"stage": kind.stage, "version": kind.version, "summary": text.partition("\n")[0]}


def _reflowed(text: str) -> str:
    """Return a docstring with unwrapped paragraphs, for the terminal to wrap; examples keep their lines."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(each if ">>> " in each else " ".join(each.split()) for each in paragraphs)


def _table(parameters: tuple[Parameter, ...]) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("parameter", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    for each in parameters:
        default = "chosen by the pass" if each.default is None else "none" if each.default == [] else str(each.default)
        facts = (each.kind, f"default {default}", each.bounds)
        table.add_row(each.name, f"{each.description}\n({'; '.join(fact for fact in facts if fact)})")
    return table
