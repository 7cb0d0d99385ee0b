"""A click command whose help ends with an example, printed as it is written."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

_PACK_FOLDER = "leanmark.pack_folder"


class ModelPath(click.Path):
    """A certified model: its file, the folder that it lies in, or a pack, which is unpacked until the command ends.

    Args:
        packs: whether a pack will do; not where the command writes beside the model.
    """

    name = "file"

    def __init__(self, packs: bool = True) -> None:
        super().__init__(exists=True, path_type=Path)
        self._packs = packs

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path of the model's file."""
        from certify.attest.pack import PACK_SUFFIX, model_in, unpacked

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.is_dir():
            return model_in(path)
        if path.suffix.lower() != PACK_SUFFIX or ctx is None:
            return path
        if not self._packs:
            self.fail(f"{path} is a pack, and this command writes beside the model; unpack it and name the folder.")
        ctx.meta[_PACK_FOLDER] = path.parent
        return ctx.with_resource(unpacked(path))


def folder_of(file: Path) -> Path:
    """Where results about a model go: the folder that it lies in, or that of its pack."""
    folder: Path = click.get_current_context().meta.get(_PACK_FOLDER, file.parent)
    return folder


key_option = click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Private key to sign with [LEANMARK_SIGNING_KEY, else your own].",
)
"""``--key``, which fills the argument ``key``."""


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


def auditor_options(function: Any) -> Any:
    """``--auditor-file`` and ``--auditor-key``, which fill the arguments ``auditor_file`` and ``auditor_key``."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--auditor-key", type=file, help="Data key that the auditor files were made with."),
        click.option(
            "--auditor-file", type=file, multiple=True, help="Auditor file of private data, from their holder."
        ),
    ):
        function = option(function)
    return function


def use_options(function: Any) -> Any:
    """``--purpose`` and ``--recipient``, of which :func:`take_use` makes what data are used for."""
    for option in (
        click.option("--recipient", help="Who uses the data, as the use policy names them."),
        click.option(
            "--purpose", help="What the data are used for, where a use policy governs them: research, or an IRI."
        ),
    ):
        function = option(function)
    return function


def take_use(arguments: dict[str, Any]) -> AbstractContextManager[None]:
    """Take the two options out of a command's arguments: within it, data are loaded for that purpose.

    The data key is that of ``--data-key``, which stays where it is asked for by ``--private-data`` too.
    """
    from certify.core.data_use.guard import Use, using
    from certify.core.data_use.vocabulary import purpose

    what, who = arguments.pop("purpose", None), arguments.pop("recipient", None)
    if what is None:
        if who is not None:
            raise click.UsageError("--recipient says who uses the data for --purpose; add it.")
        return nullcontext()
    path = arguments.get("data_key")
    if not arguments.get("private_data"):
        arguments.pop("data_key", None)
    return using(Use(purpose(what), who or "", read_data_key(path)))


def governed(function: Any) -> Any:
    """A command that only reads data, with the options of :func:`use_options`: it loads them for that purpose."""

    @use_options
    @click.option(
        "--data-key",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Data key of the data's use policy [your own].",
    )
    @functools.wraps(function)
    def command(*args: Any, **arguments: Any) -> Any:
        use = take_use(arguments)
        arguments.pop("data_key", None)
        with use:
            return function(*args, **arguments)

    return command


def read_data_key(path: Path | None) -> Any:
    """The data key in a file, or the user's own.

    Raises:
        UsageError: there is none.
    """
    from certify.core.errors import UsageError
    from certify.core.folders import config_folder
    from certify.core.private_data import DataKey

    place = path or config_folder() / "data.key"
    if not place.exists():
        raise UsageError(f"There is no data key at {place}; name the one of the data's use policy with --data-key.")
    return DataKey.read(place)


def private_options(function: Any) -> Any:
    """``--private-data`` and ``--data-key``, of which :func:`take_data_key` makes a key."""
    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--data-key", type=file, help="Data key of --private-data [your own, made on first use]."),
        click.option("--private-data", is_flag=True, help="Name no sample in public: rows go to OUT/auditor alone."),
    ):
        function = option(function)
    return function


def take_data_key(arguments: dict[str, Any]) -> Any:
    """Take the two options out of a command's arguments: a data key, or None where the data are not private."""
    from certify.core.folders import config_folder
    from certify.core.private_data import DataKey

    private, path = arguments.pop("private_data", False), arguments.pop("data_key", None)
    if path is not None and not private:
        raise click.UsageError("--data-key is the key of --private-data; add it.")
    if not private:
        return None
    place = path or config_folder() / "data.key"
    if not place.exists():
        DataKey.new().write(place)
        click.echo(f"Made the data key {place}: who has it can find your samples again, so keep it.", err=True)
    return DataKey.read(place)
