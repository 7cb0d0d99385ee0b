"""Rejected values of every command: empty paths, infinite numbers, and output files that would replace a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


class OutFile(click.Path):
    """Path of a file to write; an older file of that name is replaced."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)


def require_paths(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Reject an empty path, such as an unset variable of a script, which would mean the working folder.

    Raises:
        BadParameter: a path is empty.
    """
    # Parsed separately, because click would already have replaced the empty path.
    values, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    for param in command.params:
        if isinstance(param.type, click.Path) and "" in _each(values.get(param.name or "")):
            raise click.BadParameter("Path must not be empty.", ctx, param)


def require_finite(command: click.Command, ctx: click.Context) -> None:
    """Reject NaN, which is within every range of click, and infinity, which is within the open ones.

    Raises:
        BadParameter: a number is not finite.
    """
    for param in command.params:
        for number in _each(ctx.params.get(param.name or "")):
            # Click's ranges compare, and every comparison with NaN is false.
            if isinstance(number, float) and not math.isfinite(number):
                raise click.BadParameter(f"must be a finite number, got {number}.", ctx, param)


def require_spared_files(command: click.Command, ctx: click.Context) -> None:
    """Reject an output file in the place of a model, of a certificate or its evidence, or of an input.

    Raises:
        BadParameter: the command would replace such a file.
    """
    for param in command.params:
        for path in _each(ctx.params.get(param.name or "")):
            if (
                isinstance(param.type, OutFile)
                and path is not None
                and path.is_file()
                and _must_stay(command, ctx, path)
            ):
                raise click.BadParameter(
                    f"File '{path}' is a model, belongs to its certificate, or is an input, and would be lost; choose "
                    "another path.",
                    ctx,
                    param,
                )


def _must_stay(command: click.Command, ctx: click.Context, path: Path) -> bool:
    from certify.attest.pack import SIDECARS
    from certify.model_file.model_file import has_model_suffix

    # Compared by identity instead of by name, because two paths may lead to one file.
    return has_model_suffix(path) or path.name in SIDECARS or any(path.samefile(each) for each in _read(command, ctx))


def _read(command: click.Command, ctx: click.Context) -> Iterator[Path]:
    """Yield the existing files that the command reads."""
    for param in command.params:
        if isinstance(param.type, click.Path) and not isinstance(param.type, OutFile):
            yield from (each for each in _each(ctx.params.get(param.name or "")) if each is not None and each.exists())


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
