"""Shared by the benchmarks: their options, the bars of their figures, and how they end when something is missing.

Benchmarks print figures and end with 0. Where data, an extra or hardware is missing, a line "Left out: ..." says which.
A bar is a value that a figure must reach; it is printed beside the figure with "met" or "not met", and with
``--strict`` a bar that is not met ends a script with 1. The short form, ``--quick``, takes about a minute; its figures
are too rough for bars.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from certify.core.errors import MissingExtra


class LeftOut(Exception):
    """Data, a package or hardware is missing; the message says which, in one sentence."""


class Bars:
    """Prints figures beside the values that they must reach, and counts those that do not.

    Args:
        judged: whether the figures are of the full form; those of a short one are printed without a verdict.
    """

    def __init__(self, judged: bool = True) -> None:
        self._judged = judged
        self.missed = 0

    def at_least(self, what: str, value: float, bar: float, unit: str = "") -> None:
        """Print a figure that must not be below its bar."""
        self.holds(f"{what} {value:.4g}{unit}, must be at least {bar:g}{unit}", value >= bar)

    def at_most(self, what: str, value: float, bar: float, unit: str = "") -> None:
        """Print a figure that must not be above its bar."""
        self.holds(f"{what} {value:.4g}{unit}, must be at most {bar:g}{unit}", value <= bar)

    def within(self, what: str, value: float, low: float, high: float, unit: str = "") -> None:
        """Print a figure that must lie between two values."""
        self.holds(f"{what} {value:.4g}{unit}, must be from {low:g} to {high:g}{unit}", low <= value <= high)

    def holds(self, sentence: str, met: bool) -> None:
        """Print a sentence that names a figure and its bar, with the verdict."""
        self.missed += self._judged and not met
        verdict = ("met" if met else "not met") if self._judged else "not judged in a short form"
        print(f"  bar: {sentence}: {verdict}", flush=True)

    def code(self, strict: bool) -> int:
        """Exit code: 1 if strict and a bar was not met."""
        return int(strict and self.missed > 0)


def options(description: str | None, quick: str = "the whole script is short") -> argparse.ArgumentParser:
    """Return a parser with ``--quick`` and ``--strict``.

    Args:
        description: docstring of the script.
        quick: what the short form does.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"short form, as in make bench: {quick}")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a bar is not met; no effect without bars")
    return parser


def several(parser: argparse.ArgumentParser, name: str, known: Iterable[str], default: Iterable[str] = ()) -> None:
    """Add a positional argument that takes some of the known words, by default all of them or those given.

    ``choices`` of argparse rejects the default of a list before Python 3.12.
    """
    words, taken = list(known), list(default)

    def word(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(words)}, got '{text}'")
        return text

    told = f"of {', '.join(words)}; {', '.join(taken) or 'all'} by default"
    parser.add_argument(name, nargs="*", type=word, default=taken or words, metavar=name.upper(), help=told)


def need(folder: Path, how: str) -> Path:
    """Return a folder or file of data.

    Raises:
        LeftOut: it is absent; ``how`` says how to get it.
    """
    if not folder.exists():
        raise LeftOut(f"{folder} is absent; {how}.")
    return folder


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main function and exit: with 0 where something was left out, which is printed."""
    try:
        code = main() or 0
    except (LeftOut, MissingExtra) as missing:
        print(f"Left out: {missing}")
        code = 0
    sys.exit(code)
