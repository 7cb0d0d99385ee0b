"""``leanmark recipes``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json, print_rich

if TYPE_CHECKING:
    from rich.table import Table

    from compress.job.recipe import Recipe


@click.command(
    cls=Command,
    example="""\
leanmark recipes
leanmark recipes balanced
leanmark recipes balanced --json > mine.json
""",
)
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the recipes, or show what NAME (or a YAML file) does, with every parameter.

    The output of --json for one recipe is a recipe itself: edit it and pass it to --recipe.
    """
    from compress.job import recipe

    if name is None:
        found = [recipe.load(each) for each in recipe.names()]
        if as_json:
            print_json({"recipes": [each.to_json() for each in found]})
            return
        width = max(len(each.name) for each in found)
        for each in found:
            click.echo(f"{each.name:<{width}} {each.description}")
        return
    chosen = recipe.load(name)
    if as_json:
        print_json(chosen.to_json())
        return
    budget, workload = chosen.budget, chosen.workload
    print_rich(
        f"{chosen.name}: {chosen.description}",
        f"accuracy loss at most {budget.max_loss_percent:g} % (confidence {budget.confidence:g}); "
        f"batch {workload.batch} in {workload.runtime}; digest {chosen.digest()}",
        *(_passes(chosen)),
    )


def _passes(recipe: Recipe) -> Iterator[Table | str]:
    from rich.table import Table

    for number, each in enumerate(recipe.passes, start=1):
        title, config = f"{number}. {each.name}", each.config()
        if not config:
            yield f"{title}: no parameters"
            continue
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for key, value in config.items():
            table.add_row(key, "chosen by the pass" if value is None else str(value))
        yield table
