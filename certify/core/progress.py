"""Progress bars for everything that takes longer than two seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

REDRAW_S = 0.2


class Task(Protocol):
    """One bar."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move on by ``steps`` of the total; ``note`` replaces the text at the end of the bar."""


class Progress(Protocol):
    """Where a long job says how far it is. Library calls are silent unless they are given one."""

    def task(self, description: str, total: float | None = None) -> contextlib.AbstractContextManager[Task]:
        """Open a bar for the time of a ``with`` block."""

    def say(self, sentence: str) -> None:
        """Print one line above the bars."""


class _SilentTask:
    def advance(self, steps: float = 1, note: str = "") -> None:
        return None


class Silent:
    """Progress that shows nothing."""

    @contextlib.contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """A bar that is not drawn."""
        yield _SilentTask()

    def say(self, sentence: str) -> None:
        """Nothing."""
        return


class Bars:
    """Progress on the terminal's error stream, drawn with rich; plain lines where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            auto_refresh=False,  # no thread that draws while a window is being measured
        )
        self._open = 0

    @contextlib.contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """A bar; when it closes, one line says how long it took."""
        began = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{description} ...", highlight=False)
        elif self._open == 0:
            self._progress.start()
        self._open += 1
        bar = self._progress.add_task(description, total=total, note="")
        progress = self._progress

        class Bar:
            note = ""
            drawn = 0.0

            def advance(self, steps: float = 1, note: str = "") -> None:
                self.note = note or self.note
                progress.update(bar, advance=steps, note=self.note)
                if time.monotonic() - self.drawn > REDRAW_S:
                    progress.refresh()
                    self.drawn = time.monotonic()

        running = Bar()
        try:
            yield running
        finally:
            self._open -= 1
            self._progress.remove_task(bar)
            if self._open == 0 and self._console.is_terminal:
                self._progress.stop()
            note = f", {running.note}" if running.note else ""
            self._console.print(f"{description}: {time.monotonic() - began:.1f} s{note}", highlight=False)

    def say(self, sentence: str) -> None:
        """Print one line."""
        self._console.print(sentence, highlight=False)
