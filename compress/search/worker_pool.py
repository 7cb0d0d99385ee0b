"""Several processes working on one study: spawned here, watched, and restarted when one dies."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from certify.core.errors import LeanmarkError, MeasureError, UsageError
from certify.core.progress import Progress
from compress.search.question import Question
from compress.search.study import Study

POLL_S = 0.5
RESTARTS = 3
"""Maximum restarts of a process that was killed."""

Work = Callable[[Question, float], None]
"""Runs trials of a question until a wall-clock time; the study already exists."""


def work_apart(target: Work, question: Question, until_s: float, count: int, study: Study, progress: Progress) -> None:
    """Run trials in separate processes.

    Args:
        target: function that each process runs.
        question: question of the search; it must be picklable, as with models given by name.
        until_s: wall-clock time after which no trial starts.
        count: number of processes.
        study: study whose trials are counted.
        progress: where to report progress.

    Raises:
        UsageError: the model or the data cannot be sent to another process.
        LeanmarkError: an error after which a process could not continue.
    """
    try:
        pickle.dumps(question)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"Several workers need a model and data that can be sent to another process ({error}); give them by name, "
            "or search with one worker."
        ) from error
    crew = [Worker(target, question, until_s) for _ in range(count)]
    try:
        with progress.task(f"Searching with {count} workers", question.trials) as task:
            reported = 0
            while sum(each.is_busy() for each in crew):  # checks every worker
                done = study.count()
                task.advance(done - reported)
                reported = done
                time.sleep(POLL_S)
    finally:
        for each in crew:
            each.end()


class Worker:
    """One worker process, and how often it has been started."""

    def __init__(self, target: Work, question: Question, until_s: float) -> None:
        self._arguments = (target, question, until_s)
        self._starts = 0
        self._start()

    def is_busy(self) -> bool:
        """Return whether it is still working; restart it if it was killed.

        Raises:
            LeanmarkError: it failed, or was killed too often.
            OSError: it could not write, for example.
        """
        if self._process.is_alive():
            return True
        self._process.join()
        if self._process.exitcode == 0:
            return False
        error = self._sent()
        if error is not None:
            raise error
        if self._process.exitcode > 0:
            raise MeasureError(
                f"A worker of the search failed (exit code {self._process.exitcode}), for the reason printed above. "
                "Several workers need a model and data that a new process can import; or search with one worker."
            )
        if self._starts > RESTARTS:
            raise MeasureError(
                f"A worker of the search ended {self._starts} times (exit code {self._process.exitcode}); check memory."
            )
        self._start()
        return True

    def end(self) -> None:
        """Terminate the process if it is still running."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()

    def _start(self) -> None:
        # A fork would copy locks that threads of torch and ONNX Runtime may hold.
        context = multiprocessing.get_context("spawn")
        self._ear, mouth = context.Pipe(duplex=False)
        self._process: Any = context.Process(target=_guarded, args=(mouth, *self._arguments), daemon=False)
        self._process.start()
        # Close this end here, so that the pipe ends when the child dies.
        mouth.close()
        self._starts += 1

    def _sent(self) -> Exception | None:
        try:
            return self._ear.recv() if self._ear.poll() else None
        except EOFError:
            return None


def _guarded(mouth: Connection, target: Work, question: Question, until_s: float) -> None:
    """Run in the new process, which ends with its parent, and send the parent an error that ends the search."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        target(question, until_s)
    except LeanmarkError as error:
        mouth.send(plain(error))
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        told = (error.errno, error.strerror, error.filename) if error.errno else (str(error),)
        mouth.send(OSError(*told))  # a subclass may not be unpickled
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def plain(error: LeanmarkError) -> LeanmarkError:
    """Return the error as one that can be unpickled, whose class determines the exit code."""
    kind = next(each for each in (UsageError, MeasureError, LeanmarkError) if isinstance(error, each))
    return kind(str(error)) if error.exit_code == kind.exit_code else UsageError(str(error))
