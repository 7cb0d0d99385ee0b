"""``leanmark models``."""

from __future__ import annotations

import click

from certify.cli.command import Command
from certify.cli.output import json_option, print_json


@click.command(
    cls=Command,
    example="""\
leanmark models
leanmark models 'resnet*'
leanmark models 'timm:*'
""",
)
@click.argument("pattern", required=False)
@json_option
def command(pattern: str | None, as_json: bool) -> None:
    """List the models known by name; PATTERN is a part of the name, or a glob with * and ?.

    Names of timm models are listed if PATTERN begins with timm:. leanmark compress also takes package.module:factory
    and ONNX files.
    """
    from certify.core.suggest import unknown_name
    from compress.models import factories

    found = factories.names(pattern)
    if pattern is not None and not found:
        raise unknown_name("model", pattern, factories.names(), factories.LIST_HINT)
    if as_json:
        print_json({"models": found})
        return
    for name in found:
        click.echo(name)
