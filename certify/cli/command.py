"""A click command whose help ends with a verbatim example, and options shared by several commands."""

from __future__ import annotations

import functools
import os
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from certify.cli.values import require_finite, require_paths, require_spared_files

_PACK_FOLDER = "leanmark.pack_folder"
LONGEST_SUMMARY = 200  # characters; lists of commands wrap a summary instead of cutting it
CONTINUED = " \\"
_ALWAYS = {"0": "Done.", "2": "Usage error, or input that cannot be read."}
"""Exit codes of every command, listed where a command's own help does not describe them."""


class ModelPath(click.Path):
    """Path of a certified model: its file, its folder, or a pack, which stays unpacked until the command ends.

    Args:
        packs: whether a pack is accepted; False where the command writes next to the model.
    """

    name = "file"

    def __init__(self, packs: bool = True) -> None:
        super().__init__(exists=True, path_type=Path)
        self._packs = packs

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the model file."""
        from certify.attest.pack import PACK_SUFFIX, model_in, unpacked

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.is_dir():
            return model_in(path)
        # Without a context nothing would remove the unpacked files.
        if path.suffix.lower() != PACK_SUFFIX or ctx is None:
            return path
        if not self._packs:
            self.fail(f"{path} is a pack, but this command writes next to the model; unpack it and pass the folder.")
        # The pack's folder, because the model itself is unpacked to a temporary one.
        ctx.meta[_PACK_FOLDER] = path.parent
        return ctx.with_resource(unpacked(path))


def folder_of(file: Path) -> Path:
    """Return the folder for results about a model: the one that contains it, or its pack."""
    folder: Path = click.get_current_context().meta.get(_PACK_FOLDER, file.parent)
    return folder


key_option = click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Private key to sign with.  [default: LEANMARK_SIGNING_KEY, else your own]",
)
"""Add ``--key``, which fills the argument ``key``."""

trust_option = click.option(
    "--trust", multiple=True, metavar="PUBKEY", help="Public key to trust: PEM file or hex digits."
)
"""Add ``--trust``, which fills the argument ``trust``."""

withdrawals_option = click.option(
    "--withdrawals",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A scheme's list of withdrawn marks; repeatable.",
)
"""Add ``--withdrawals``, which fills the argument ``withdrawals``."""


class _WithExample(click.Command):
    """Command whose help ends with a list of its exit codes and an example.

    Args:
        example: shell lines.
        settings: settings of click; the exit codes are the sentences at the end of its ``help``, after ``Exit code``.
    """

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.example = example

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description without the exit codes."""
        # Restored afterwards, because the command outlives this call.
        full, self.help = self.help, _described(self.help or "")[0]
        super().format_help_text(ctx, formatter)
        self.help = full

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write exit codes and example after everything else."""
        if codes := _described(self.help or "")[1]:
            with formatter.section("Exit codes"):
                formatter.write_dl(sorted({**_ALWAYS, **dict(codes)}.items()))
        write_example(self.example, formatter)


def _described(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split a command's help into its description, and its exit codes with their meanings."""
    description, start, codes = text.partition("Exit code ")
    # Matches a digit at the beginning or after a full stop only, so that figures in a sentence stay in it.
    _, *rows = re.split(r"(?:^|(?<=\.) )([0-6])[:,] ", " ".join(codes.split()))
    meanings = [meaning[0].upper() + meaning[1:] for meaning in rows[1::2]]
    return (description.rstrip(), list(zip(rows[::2], meanings, strict=True))) if start else (text, [])


class Command(_WithExample):
    """Command with an example in its help, and usable paths and numbers."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments and check paths and numbers."""
        # A half-written command line has no complete arguments to check.
        if ctx.resilient_parsing:  # completion
            return super().parse_args(ctx, args)
        # Checked before click parses them, because an empty path would become the working folder.
        require_paths(self, ctx, args)
        rest = super().parse_args(ctx, args)
        require_finite(self, ctx)
        require_spared_files(self, ctx)
        return rest


class Group(_WithExample, click.Group):
    """Group of commands with an example in its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; a summary is wrapped, where click would cut it."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                # Click cuts summaries by default.
                [(name, command.get_short_help_str(limit=LONGEST_SUMMARY)) for name, command in commands if command]
            )


def write_example(example: str, formatter: click.HelpFormatter) -> None:
    """Write the lines of an example; one that is too long continues on the next line, as a shell reads it."""
    width = formatter.width - formatter.indent_increment
    with formatter.section("Example"):
        for line in example.strip().splitlines():
            # Lines break before an option, where a shell accepts a continuation.
            while len(line) > width and (end := line.rfind(" -", 5, width - len(CONTINUED))) > 0:
                formatter.write(f"{'':>{formatter.current_indent}}{line[:end]}{CONTINUED}\n")
                line = f"{'':4}{line[end + 1 :]}"
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def auditor_options(function: Any) -> Any:
    """Add ``--auditor-file`` and ``--auditor-key``, which fill the arguments of these names."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--auditor-key", type=file, help="Data key under which the auditor files were written."),
        click.option(
            "--auditor-file",
            type=file,
            multiple=True,
            help="Auditor file from the holder of the private data; repeatable.",
        ),
    ):
        function = option(function)
    return function


def use_options(function: Any) -> Any:
    """Add ``--purpose`` and ``--recipient``, which :func:`take_use` turns into the declared use of the data."""
    for option in (
        click.option("--recipient", help="User of the data, as named in the use policy."),
        click.option("--purpose", help="Purpose of use, if a use policy governs the data: research, or an IRI."),
    ):
        function = option(function)
    return function


def take_use(arguments: dict[str, Any]) -> AbstractContextManager[None]:
    """Remove both options from a command's arguments and return a context that loads data for that purpose.

    The data key is that of ``--data-key``, which is kept in the arguments because ``--private-data`` needs it too.
    """
    from certify.core.data_use.guard import Use, using
    from certify.core.data_use.vocabulary import purpose

    # Always removed, because the functions called next do not know these options.
    what, who = arguments.pop("purpose", None), arguments.pop("recipient", None)
    if what is None:
        if who is not None:
            raise click.UsageError("--recipient needs --purpose; add --purpose.")
        return nullcontext()
    path = arguments.get("data_key")
    # The command itself uses the key only to identify private data.
    if not arguments.get("private_data"):
        arguments.pop("data_key", None)
    return using(Use(purpose(what), who or "", read_data_key(path)))


def governed(function: Any) -> Any:
    """Add the options of :func:`use_options` to a read-only command, which then loads data for that purpose."""

    @use_options
    @click.option(
        "--data-key",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Data key of the use policy.  [default: your own]",
    )
    @functools.wraps(function)
    def command(*args: Any, **arguments: Any) -> Any:
        use = take_use(arguments)
        arguments.pop("data_key", None)
        with use:
            return function(*args, **arguments)

    return command


def read_data_key(path: Path | None) -> Any:
    """Return the data key in a file, or the user's own.

    Raises:
        UsageError: there is no such file.
    """
    from certify.core.errors import UsageError
    from certify.core.folders import config_folder
    from certify.core.private_data import DataKey

    place = path or config_folder() / "data.key"
    if not place.exists():
        raise UsageError(
            f"No data key found at {place}; pass the one of these data with --data-key, or create one with leanmark "
            "keygen --data-key FILE."
        )
    return DataKey.read(place)


def private_options(function: Any) -> Any:
    """Add ``--private-data`` and ``--data-key``, which :func:`take_data_key` turns into a key."""
    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option(
            "--data-key", type=file, help="Data key for --private-data.  [default: your own, created on first use]"
        ),
        click.option(
            "--private-data", is_flag=True, help="Identify no sample in public files; rows go only to OUT/auditor."
        ),
    ):
        function = option(function)
    return function


def take_data_key(arguments: dict[str, Any]) -> Any:
    """Remove both options from a command's arguments; return a data key, or None if the data are not private."""
    from certify.core.folders import config_folder
    from certify.core.private_data import DataKey

    private, path = arguments.pop("private_data", False), arguments.pop("data_key", None)
    if path is not None and not private:
        raise click.UsageError("--data-key needs --private-data; add --private-data.")
    if not private:
        return None
    if path is not None:
        return read_data_key(path)
    place = config_folder() / "data.key"
    if not place.exists():
        DataKey.new().write(place)
        click.echo(
            f"Created the data key {place}. Anyone who has it can identify your samples, so keep it secret.", err=True
        )
    return DataKey.read(place)
