"""A click command whose help ends with an example, printed as it is written."""

from __future__ import annotations

from typing import Any

import click


class Command(click.Command):
    """A command with an example.

    Args:
        example: lines to type in a shell.
    """

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        write_example(self.example, formatter)


def write_example(example: str, formatter: click.HelpFormatter) -> None:
    """Write lines without wrapping them."""
    with formatter.section("Example"):
        for line in example.strip().splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
