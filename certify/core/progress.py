"""Progress bars for steps of more than two seconds, in terminals and notebooks."""

from __future__ import annotations

import contextlib
import functools
import html
import importlib
import inspect
import io
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, Protocol, TextIO, TypeVar

from certify.core.errors import LeanmarkError
from certify.core.redraw import REDRAW_S, moving

P = ParamSpec("P")
R = TypeVar("R")


class Task(Protocol):
    """One progress bar."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Advance by ``steps`` of the total; ``note`` replaces the text below the description."""


class Progress(Protocol):
    """Display of the progress of a long job."""

    def task(self, description: str, total: float | None = None) -> contextlib.AbstractContextManager[Task]:
        """Show a bar for the duration of a ``with`` block."""

    def say(self, sentence: str) -> None:
        """Print one line above the bars."""


class _SilentTask:
    def advance(self, steps: float = 1, note: str = "") -> None:
        return None


class Silent:
    """Progress that shows nothing."""

    @contextlib.contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """Return a bar that is not drawn."""
        yield _SilentTask()

    def say(self, sentence: str) -> None:
        """Nothing."""
        return


def shown(progress: Progress | bool | None) -> Progress:
    """Choose the progress display of a library call.

    Args:
        progress: ``False`` for nothing, ``True`` for bars; None for bars in a notebook or a terminal only.

    Example:
        >>> from certify.core.progress import shown
        >>> type(shown(False)).__name__
        'Silent'
    """
    if progress is None or progress is True:
        bars = Bars()
        # By default, a library draws bars only on a terminal.
        return bars if progress or bars.is_drawn else Silent()
    return progress or Silent()


def job(description: str, when_stopped: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function with a ``progress`` parameter: set up the display, and show a bar for the whole call.

    Args:
        description: description of the bar, which is visible throughout.
        when_stopped: message if the user stops it: what the next start does.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound = inspect.signature(function).bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None  # as Python names it in a plain call
            # Bound by name, because callers may pass it by position.
            bound.arguments["progress"] = progress = shown(bound.arguments.get("progress"))
            try:
                with progress.task(description):
                    return function(*bound.args, **bound.kwargs)
            except KeyboardInterrupt as error:
                happened = vars(error).setdefault("happened", str(error))
                if when_stopped:  # replaces the message of a job inside this one
                    error.args = (f"{happened} {when_stopped}".strip(),)
                raise

        return run

    return decorate


class Bars:
    """Bars in a notebook or on the terminal's error stream; plain lines otherwise.

    A thread redraws them during a step; it does not run while a window is measured (:mod:`certify.core.redraw`).

    Example:
        >>> from certify.core.progress import Bars
        >>> with Bars().task("Scoring", total=10) as task:  # doctest: +SKIP
        ...     task.advance(5, note="half of it is done")
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        file = _own_stream()
        if file is not sys.stderr:
            weakref.finalize(self, file.close)
        self._console = Console(file=file)
        self._notebook = _Notebook() if self._console.is_jupyter else None
        self.is_drawn = self._notebook is not None or self._console.is_terminal
        fixed = Column(no_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            BarColumn(12, table_column=fixed),
            TaskProgressColumn(table_column=fixed),
            TimeElapsedColumn(fixed),
            TimeRemainingColumn(table_column=fixed),
            console=self._console,
            auto_refresh=False,  # we use our own thread, which stops while a window is measured
            transient=True,
        )
        self._open = contextlib.ExitStack()

    @contextlib.contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """Show a bar; at the end, print how long the step took, unless it failed."""
        began = time.monotonic()
        if not self.is_drawn:
            self.say(f"{description} ...")
        elif not self._progress.tasks:
            self._start()
        bar = self._progress.add_task(description, total=total)
        running = _Bar(self, bar, description)
        how: str | None = "stopped after "
        try:
            yield running
            how = ""
        except LeanmarkError:
            how = None  # the error message follows
            raise
        finally:
            self._progress.remove_task(bar)
            if self.is_drawn:
                self.draw()
            note = f", {running.note}" if running.note else ""
            if how is not None:
                self.say(f"{description}: {how}{time.monotonic() - began:.1f} s{note}")
            if not self._progress.tasks:
                self._open.close()

    def say(self, sentence: str) -> None:
        """Print one line above the bars."""
        if self._notebook is not None:
            self._notebook.lines.append(sentence)
            self.draw()
        else:
            self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def update(self, bar: Any, steps: float, text: str) -> None:
        """Advance a bar without drawing it."""
        self._progress.update(bar, advance=steps, description=text)

    def draw(self) -> None:
        """Draw all open bars."""
        if self._notebook is not None:
            self._notebook.draw(self._progress.tasks)
        else:
            self._progress.refresh()

    def _start(self) -> None:
        if self._notebook is None:
            self._progress.start()
            self._open.callback(self._progress.stop)
        self._open.enter_context(moving(self.draw))


class _Bar:
    def __init__(self, bars: Bars, bar: Any, description: str) -> None:
        self._bars, self._bar, self._description = bars, bar, description
        self._drawn, self.note = 0.0, ""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Advance, and redraw if the display is old, since no thread does so during a measured run."""
        self.note = note or self.note
        self._bars.update(self._bar, steps, f"{self._description}\n{self.note}".rstrip())
        # Drawn at a limited rate, because drawing takes processor time from the measured step.
        if self._bars.is_drawn and time.monotonic() - self._drawn > REDRAW_S:
            self._bars.draw()
            self._drawn = time.monotonic()


class _Notebook:
    """A cell output that is replaced on each redraw: finished steps as lines, open ones as bars."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._handle: Any = None

    def draw(self, tasks: list[Any]) -> None:
        """Replace the output, without widgets."""
        display: Any = importlib.import_module("IPython.display")
        rows = "".join(map(_html_row, tasks))
        content = display.HTML(f"<pre>{html.escape(chr(10).join(self.lines))}</pre><table>{rows}</table>")
        if self._handle is None:
            self._handle = display.display(content, display_id=True)
        else:
            self._handle.update(content)


def _html_row(task: Any) -> str:
    done = "" if task.total is None else f' value="{task.completed:g}" max="{task.total:g}"'
    label = html.escape(task.description).replace("\n", "<br>")
    return f"<tr><td>{label}</td><td><progress{done}></progress></td><td>{task.elapsed or 0:.0f} s</td></tr>"


def _own_stream() -> TextIO:
    """Return the error stream with its own descriptor, which survives when an exporter's output is discarded."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError, io.UnsupportedOperation):
        return sys.stderr  # the stream has been replaced by an object without a descriptor
    return os.fdopen(descriptor, "w", encoding=sys.stderr.encoding, errors="backslashreplace")
