"""The program ``leanmark``: finds a subcommand by name, imports it, and reports errors as one sentence."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import io
import shutil
import signal
import sys
import textwrap
import threading
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from certify.cli.command import LONGEST_SUMMARY, write_example
from certify.cli.output import json_alone, print_json
from certify.core.errors import LeanmarkError, MissingExtra, UsageError
from certify.core.exit_codes import STOPPED, USAGE
from certify.core.suggest import unknown_name

MAKER_GROUP = "leanmark.commands"
"""Entry point group of the maker's commands; the referee knows none of them by name."""

MAKER_EXTRA = "compress"
EXTRAS = {"onnxruntime": "measure", "PIL": "measure", "pynvml": "measure", "resvg_py": "label", "font_lato": "label"}
"""Extra that installs each library missing from the referee's base install, by top-level module."""
EXAMPLE = """\
leanmark certify small.onnx --baseline original.onnx \\
    --data imagefolder:photos --preprocess preprocess.yaml --out graded
leanmark verify graded/model.onnx
"""
AS_JSON = "leanmark.as_json"


class Place(NamedTuple):
    """Location of a command, with its summary (so that listing the commands imports none of them)."""

    where: str
    what: str


REFEREE = {
    "attest": Place("certify.cli.attest:command", "Attest a credit's requirement that cannot be measured."),
    "audit": Place("certify.cli.audit:command", "Recompute a certificate from its evidence, or measure again."),
    "badge": Place("certify.cli.badge:command", "Draw a badge for a README."),
    "certify": Place("certify.cli.certify:command", "Measure two ONNX files against each other; grade, sign and seal."),
    "export": Place("certify.cli.export:command", "Write a certificate in the format of another tool."),
    "compare": Place("certify.cli.compare:command", "Compare certified models side by side."),
    "declare": Place("certify.cli.declare:command", "Declare and sign what a model is for and whom it may harm."),
    "fairness": Place("certify.cli.fairness:command", "Compare a model's answers between groups of people."),
    "gate": Place("certify.cli.gate:command", "Pass or stop a certified model in a build pipeline."),
    "countersign": Place("certify.cli.countersign:command", "Sign your verdict on someone else's certificate."),
    "keygen": Place("certify.cli.keygen:command", "Create the key that signs your certificates."),
    "label": Place("certify.cli.label:command", "Redraw the label of a certificate."),
    "mappings": Place("certify.cli.mappings:command", "Fill the tables of laws and standards for a certified model."),
    "mark": Place("certify.cli.mark:command", "Award or withdraw a level as a scheme, or check one."),
    "meters": Place("certify.cli.meters:command", "List the energy meters and show which one is used here."),
    "pack": Place("certify.cli.pack:command", "Bundle a certified model with its sidecar files."),
    "page": Place("certify.cli.page:command", "Write a certificate as a page for the public."),
    "profile": Place("certify.cli.profile:command", "Measure a model without grading it."),
    "release": Place("certify.cli.release:command", "Sign the files of a release, or check them."),
    "registry": Place("certify.cli.registry:command", "Publish certified models as a static, searchable page."),
    "report": Place("certify.cli.report:command", "Write a full HTML report on a certified model."),
    "robustness": Place("certify.cli.stress:command", "Compare a pair on corrupted and attacked images."),
    "renew": Place("certify.cli.renew:command", "List what must be measured again to renew a score."),
    "regrade": Place("certify.cli.regrade:command", "Grade stored evidence by another edition."),
    "score": Place("certify.cli.score:command", "Count the points of a certified model over all assessments."),
    "state": Place("certify.cli.state:command", "Sign a further statement about a model, from its records."),
    "policy": Place("certify.cli.policy:command", "Set and query what data may be used for."),
    "subject": Place("certify.cli.subject:command", "Print what is stored about a person and how it was used."),
    "trust": Place("certify.cli.trust:command", "Manage the keys that you trust."),
    "verify": Place("certify.cli.verify:command", "Check the certificate of a model."),
    "witness": Place("certify.cli.witness:command", "Check adversarial witnesses for a model, or add your own."),
}


@functools.cache
def makers() -> dict[str, EntryPoint]:
    """Return the maker's commands by name.

    Raises:
        LeanmarkError: two installed distributions declare the same command.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=MAKER_GROUP):
        known = found.setdefault(point.name, point)
        # If two packages define one command, the order of installation must not decide which one runs.
        if point.name in REFEREE or known.value != point.value:
            other = REFEREE[point.name].where if point.name in REFEREE else known.value
            raise LeanmarkError(
                f"The command '{point.name}' is declared twice: by {other} and by {point.value}. Uninstall one of the "
                "two."
            )
    return found


def _missing_extra(name: str, error: ModuleNotFoundError) -> MissingExtra | None:
    """Return the error for a command whose libraries are not installed; None if the fault is in our own code."""
    point = makers().get(name)
    absent = (error.name or "").partition(".")[0]
    if name in REFEREE and absent in EXTRAS:
        return MissingExtra(f"leanmark {name} ({absent})", EXTRAS[absent])
    # A missing module of leanmark itself is a bug, not a missing extra.
    if point is None or absent == "certify" or (absent == point.module.partition(".")[0] and error.name != absent):
        return None
    return MissingExtra(f"leanmark {name} ({absent})", MAKER_EXTRA)


class Program(click.Group):
    """Group of lazily imported commands that reports errors as one sentence on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the referee's and of the installed maker's commands."""
        return sorted({*REFEREE, *makers()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None if the name is unknown."""
        if cmd_name in REFEREE:
            module, _, name = REFEREE[cmd_name].where.partition(":")
            # Imported by name, so that `leanmark --help` loads neither torch nor onnxruntime.
            command: click.Command = getattr(importlib.import_module(module), name)
            command.name = cmd_name  # not the function's name: documentation tools print it
            return command
        if cmd_name not in makers():
            return None
        try:
            loaded: click.Command = makers()[cmd_name].load()
        except ModuleNotFoundError as error:
            raise _missing_extra(cmd_name, error) or error from error
        loaded.name = cmd_name
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing those of the referee."""
        # Summaries are constants, because click would import every command to get them.
        rows = [(name, self._what(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write an example below the commands."""
        write_example(EXAMPLE, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named by the first argument.

        Raises:
            UsageError: the name is unknown (the nearest one is suggested), or the working folder of a maker's command
                is gone.
        """
        if not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown_name("command", args[0], self.list_commands(ctx), "See leanmark --help.")
        # The maker's commands load torch, whose libraries abort if the working folder is gone.
        if args[0] in makers():
            _require_working_folder()
        return super().resolve_command(ctx, args)

    def _what(self, ctx: click.Context, name: str) -> str:
        if name in REFEREE:
            return REFEREE[name].what
        try:
            command = self.get_command(ctx, name)
        except MissingExtra as missing:
            return f"(needs the extra '{missing.extra}')"
        return command.get_short_help_str(limit=LONGEST_SUMMARY) if command else ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether errors should be JSON, which only the command's own options say."""
        # Noted before parsing, because an error while parsing must be JSON too.
        ctx.meta[AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and exit with its code; SIGTERM stops it like Ctrl-C."""
        if threading.current_thread() is threading.main_thread():  # other threads cannot set a handler
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # In tests and notebooks, standard output is a different kind of object.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # terminals with another encoding still get the full text
        try:
            with json_alone(ctx) if ctx.meta[AS_JSON] else contextlib.nullcontext():
                return super().invoke(ctx)
        except LeanmarkError as error:
            _fail(ctx, error, f"Error: {error}", error.exit_code)
        except click.ClickException as error:
            # Without --json, click prints usage errors with its own hint.
            if ctx.meta[AS_JSON]:
                _fail(ctx, error, error.format_message(), error.exit_code)
            if (wrapped := _wrapped_usage_error(error)) is None:
                raise
            raise wrapped from error
        except ModuleNotFoundError as error:
            missing = _missing_extra(ctx.invoked_subcommand or "", error)
            if missing is None:
                raise
            _fail(ctx, error, f"Error: {missing}", missing.exit_code)
        except ImportError as error:
            # Such an error comes from a shared library that is present but cannot be loaded.
            if not any(kind in str(error) for kind in (".so", ".dylib", "DLL")):
                raise
            _fail(ctx, error, f"Error: A library cannot be loaded ({error}); {NO_MEMORY}", USAGE)
        except MemoryError as error:
            _fail(ctx, error, f"Error: Not enough memory; {NO_MEMORY}", USAGE)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader closed the pipe; click exits quietly
            _fail(ctx, error, f"Error: {_os_sentence(error)}", USAGE)
        except KeyboardInterrupt as error:
            if sys.stderr.isatty():
                click.echo(err=True)  # ends the line on which the terminal echoed ^C
            _fail(ctx, error, f"Stopped. {error}".strip(), STOPPED)


NO_MEMORY = "raise the memory limit (ulimit -v), free some memory, or reinstall the library."


def _require_working_folder() -> None:
    """Refuse a deleted working folder, in which torch's libraries abort the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("The working folder no longer exists; change to another one.") from error


_UNUSABLE_PATH = (errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS)
_WHAT_TO_DO = {
    errno.ENOSPC: " Free some space, or choose another folder.",
    errno.EDQUOT: " Free some space, or choose another folder.",
    errno.EACCES: " Choose another path, or change its permissions.",
    **dict.fromkeys(_UNUSABLE_PATH, " Choose another path."),
}


def _os_sentence(error: OSError) -> str:
    what = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{what}.{_WHAT_TO_DO.get(error.errno or 0, '')}"


def one_line(sentence: str) -> str:
    """Return the sentence without line breaks and without control characters that could drive the terminal."""
    from certify.core.text import clean

    return clean(sentence)


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _for_reader(sentence: str) -> str:
    """Wrap a sentence at its spaces on a terminal, which would break it inside a word; a file gets one line."""
    if not _on_terminal():
        return sentence
    width = shutil.get_terminal_size().columns
    return textwrap.fill(sentence, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _wrapped_usage_error(error: click.ClickException) -> click.UsageError | None:
    """Return a usage error with its sentence wrapped for the reader; None for an error of another form."""
    # Click calls the help of a group that is called without a command an error too; it is laid out already.
    if not isinstance(error, click.UsageError) or isinstance(error, click.exceptions.NoArgsIsHelpError):
        return None
    sentence = _for_reader(f"Error: {error.format_message()}").removeprefix("Error: ")
    return click.UsageError(sentence, error.ctx)


def _fail(ctx: click.Context, error: BaseException, sentence: str, exit_code: int) -> NoReturn:
    """Report what went wrong and exit."""
    if ctx.params["debug"]:
        traceback.print_exception(error, file=sys.stderr)
    if ctx.meta[AS_JSON]:
        # The JSON key already says that it is an error.
        print_json({"error": {"code": exit_code, "message": one_line(sentence.removeprefix("Error: "))}})
    else:
        click.echo(_for_reader(one_line(sentence)), err=True)
    ctx.exit(exit_code)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, envvar="LEANMARK_DEBUG", help="Show the traceback of an error.")
@click.version_option(package_name="leanmark", prog_name="leanmark")
def main(debug: bool) -> None:
    """Make a model cheaper to run, and prove how much cheaper and at what cost in accuracy."""


if __name__ == "__main__":
    main()
