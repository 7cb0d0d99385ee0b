"""The program ``leanmark``: finds a subcommand by name, imports it, and turns errors into one sentence."""

from __future__ import annotations

import errno
import functools
import importlib
import io
import signal
import sys
import threading
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from certify.cli.command import write_example
from certify.cli.output import print_json
from certify.core.errors import LeanmarkError, MissingExtra, UsageError
from certify.core.suggest import unknown_name

MAKER_GROUP = "leanmark.commands"
"""Entry points under which an installed maker declares its commands; the referee knows none of them by name."""

MAKER_EXTRA = "compress"
EXTRAS = {"onnxruntime": "measure", "PIL": "measure", "pynvml": "measure", "resvg_py": "label", "font_lato": "label"}
"""Which extra brings a library that the referee's base install leaves out, by its top-level module."""
EXAMPLE = """\
leanmark certify small.onnx --baseline original.onnx \\
    --data imagefolder:photos --preprocess preprocess.yaml --out graded
leanmark verify graded/model.onnx
"""
STOPPED = 130
LONGEST_SUMMARY = 200  # characters; the list of commands wraps a summary instead of cutting it
AS_JSON = "leanmark.as_json"


class Place(NamedTuple):
    """Where a command is, and what it does in a few words (so that the list of commands imports none)."""

    where: str
    what: str


REFEREE = {
    "attest": Place("certify.cli.attest:command", "Sign what a credit asks that nobody can measure."),
    "audit": Place("certify.cli.audit:command", "Derive a certificate's figures again, or measure them again."),
    "badge": Place("certify.cli.badge:command", "Draw a badge for a README."),
    "certify": Place("certify.cli.certify:command", "Measure a pair of ONNX files, grade, sign and seal."),
    "export": Place("certify.cli.export:command", "Write a certificate in the format of another tool."),
    "compare": Place("certify.cli.compare:command", "Put certified models beside each other."),
    "declare": Place("certify.cli.declare:command", "Say what a model is for and whom it may harm, and sign that."),
    "fairness": Place("certify.cli.fairness:command", "Compare a model's answers between groups of people."),
    "gate": Place("certify.cli.gate:command", "Let a certified model pass a build pipeline, or stop it."),
    "countersign": Place("certify.cli.countersign:command", "Sign what you found about another's certificate."),
    "keygen": Place("certify.cli.keygen:command", "Make the key that signs your certificates."),
    "label": Place("certify.cli.label:command", "Draw the label of a certificate again."),
    "mappings": Place("certify.cli.mappings:command", "Fill the tables of laws and standards for a certified model."),
    "mark": Place("certify.cli.mark:command", "Award a level as a scheme, take it back, see which you believe."),
    "meters": Place("certify.cli.meters:command", "List the energy meters, and which one would be used here."),
    "pack": Place("certify.cli.pack:command", "Put a certified model and all that belongs to it into one file."),
    "profile": Place("certify.cli.profile:command", "Measure a model without grading it."),
    "release": Place("certify.cli.release:command", "Sign the files of a release, and check them."),
    "registry": Place("certify.cli.registry:command", "Publish certified models as a static, searchable page."),
    "report": Place("certify.cli.report:command", "Write everything about a certified model as one HTML page."),
    "robustness": Place("certify.cli.stress:command", "Compare a pair on corrupted and attacked images."),
    "renew": Place("certify.cli.renew:command", "Say what of a score must be measured again."),
    "regrade": Place("certify.cli.regrade:command", "Grade by another edition, from stored evidence."),
    "score": Place("certify.cli.score:command", "Count the points of a certified model over all assessments."),
    "state": Place("certify.cli.state:command", "Sign a further statement about a model, from its records."),
    "policy": Place("certify.cli.policy:command", "Say what data may be used for, and ask it."),
    "subject": Place("certify.cli.subject:command", "Print what is held about a person, and how it was used."),
    "trust": Place("certify.cli.trust:command", "Say whose signature counts for you."),
    "verify": Place("certify.cli.verify:command", "Check the certificate of a model."),
    "witness": Place("certify.cli.witness:command", "Check adversarial witnesses for a model, and add your own."),
}


@functools.cache
def makers() -> dict[str, EntryPoint]:
    """The maker's commands by name.

    Raises:
        LeanmarkError: two installed distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=MAKER_GROUP):
        known = found.setdefault(point.name, point)
        if point.name in REFEREE or known.value != point.value:
            other = REFEREE[point.name].where if point.name in REFEREE else known.value
            raise LeanmarkError(f"The command '{point.name}' is declared twice: by {other} and by {point.value}.")
    return found


def _missing_extra(name: str, error: ModuleNotFoundError) -> MissingExtra | None:
    """The sentence for a command whose libraries are absent; None where the fault is in our own code."""
    point = makers().get(name)
    absent = (error.name or "").partition(".")[0]
    if name in REFEREE and absent in EXTRAS:
        return MissingExtra(f"leanmark {name} ({absent})", EXTRAS[absent])
    if point is None or absent == "certify" or (absent == point.module.partition(".")[0] and error.name != absent):
        return None
    return MissingExtra(f"leanmark {name} ({absent})", MAKER_EXTRA)


class Program(click.Group):
    """A group of lazy commands whose errors are one sentence on the error stream."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the referee's and of the installed maker's commands."""
        return sorted({*REFEREE, *makers()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of that name."""
        if cmd_name in REFEREE:
            module, _, name = REFEREE[cmd_name].where.partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            command.name = cmd_name  # not the function's: documentation tools print it
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
        """Write the list of commands; the referee's are not imported for it."""
        rows = [(name, self._what(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write an example below the commands."""
        write_example(EXAMPLE, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names.

        Raises:
            UsageError: there is none of that name; the nearest is named. Or a maker's command has no working folder.
        """
        if not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown_name("command", args[0], self.list_commands(ctx), "See leanmark --help.")
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
        """Note whether errors are asked for as JSON, which only the command's own options tell."""
        ctx.meta[AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and end with its exit code; SIGTERM stops it as Ctrl-C does."""
        if threading.current_thread() is threading.main_thread():  # no other may set a handler
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another encoding still gets all the text
        try:
            return super().invoke(ctx)
        except LeanmarkError as error:
            _fail(ctx, error, f"Error: {error}", error.exit_code)
        except click.ClickException as error:
            if not ctx.meta[AS_JSON]:
                raise
            _fail(ctx, error, error.format_message(), error.exit_code)
        except ModuleNotFoundError as error:
            missing = _missing_extra(ctx.invoked_subcommand or "", error)
            if missing is None:
                raise
            _fail(ctx, error, f"Error: {missing}", missing.exit_code)
        except ImportError as error:
            if not any(kind in str(error) for kind in (".so", ".dylib", "DLL")):
                raise
            _fail(ctx, error, f"Error: a library cannot be loaded ({error}); {NO_MEMORY}", 2)
        except MemoryError as error:
            _fail(ctx, error, f"Error: There is not enough memory; {NO_MEMORY}", 2)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader went away; click ends quietly
            _fail(ctx, error, f"Error: {_os_sentence(error)}", 2 if error.errno in _USER_ERRNO else 1)
        except KeyboardInterrupt as error:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal has echoed ^C
            _fail(ctx, error, f"Stopped. {error}".strip(), STOPPED)


NO_MEMORY = "raise the memory limit (ulimit -v), free some memory, or install the library again."


def _require_working_folder() -> None:
    """Refuse a folder that was removed, in which torch's libraries end the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("The working folder does not exist any more; change to another one.") from error


_USER_ERRNO = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EROFS)
_WHAT_TO_DO = {
    errno.ENOSPC: " Free some space, or choose another folder.",
    errno.EDQUOT: " Free some space, or choose another folder.",
    errno.EACCES: " Choose another place, or change its permissions.",
    errno.EROFS: " Choose another place.",
}


def _os_sentence(error: OSError) -> str:
    what = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{what}.{_WHAT_TO_DO.get(error.errno or 0, '')}"


def one_line(sentence: str) -> str:
    """Without line breaks, and without control characters of a hostile file that would drive the terminal."""
    from certify.core.text import clean

    return clean(sentence)


def _fail(ctx: click.Context, error: BaseException, sentence: str, exit_code: int) -> NoReturn:
    """Say what went wrong and leave."""
    if ctx.params["debug"]:
        traceback.print_exception(error, file=sys.stderr)
    if ctx.meta[AS_JSON]:
        print_json({"error": {"code": exit_code, "message": one_line(sentence.removeprefix("Error: "))}})
    else:
        click.echo(one_line(sentence), err=True)
    ctx.exit(exit_code)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, envvar="LEANMARK_DEBUG", help="Show the traceback of an error.")
@click.version_option(package_name="leanmark", prog_name="leanmark")
def main(debug: bool) -> None:
    """Make a model cheaper to run, and prove how much cheaper and at what cost in accuracy."""


if __name__ == "__main__":
    main()
