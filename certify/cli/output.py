"""Where a command's results go: tables or JSON to the output stream, everything else to the error stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from certify.api import Result
    from certify.progress import Progress

F = TypeVar("F", bound=Callable[..., object])


def json_option(command: F) -> F:
    """Add ``--json``, which fills the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")(command)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object; infinities and NaN are no JSON and raise ValueError."""
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def print_rich(*parts: object) -> None:
    """Print tables and texts, with a blank line between them; square brackets in them are no markup."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)


def print_result(result: Result, as_json: bool) -> None:
    """Print the outcome of a run that graded: before and after, the grade, where the files are."""
    if as_json:
        print_json(result.to_json())
        return
    from certify.cli.tables import comparison, files, verdict

    print_rich(comparison(result.profile.estimates), verdict(result.grade), files(result.files))


def bars() -> Progress:
    """Progress bars on the error stream."""
    from certify.progress import Bars

    return Bars()
