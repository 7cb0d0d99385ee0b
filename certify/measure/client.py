"""The parent's side of a worker: start it, send commands with a time limit, and never leave it running."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from certify.core.errors import MeasureError, ModelError
from certify.core.redraw import still
from certify.core.surroundings import WorkerSurroundings
from certify.measure import libraries, surroundings
from certify.measure.runtimes.base import NodeRun

OPEN_TIMEOUT_S = 300.0
CALL_TIMEOUT_S = 60.0
"""Seconds allowed beyond the expected time of a command."""
SLOWER = 10.0
"""Multiple of a command's expected time after which the worker counts as hanging."""
EXIT_TIMEOUT_S = 2.0
STDERR_LINES = 3


@dataclass(frozen=True)
class WindowResult:
    """A worker's report of one window: wall and CPU seconds, and whether its last output was finite."""

    duration_s: float
    cpu_s: float
    finite: bool


class Worker:
    """One model in its own process. Use it in a ``with`` block, which always ends the process.

    Args:
        arm: name of the model for error messages.
        model: the model file.
        settings: arguments of the worker's ``open`` command besides the model.
        call_timeout_s: seconds that a command may take beyond ten times the expected time; None for ``CALL_TIMEOUT_S``.
        file: copy to run instead of the model, with a name that does not reveal the arm; None for the model itself.
            Errors name the model.

    Attributes:
        facts: actual settings of the session.
        surroundings: surroundings in which it runs.

    Raises:
        ModelError: the runtime cannot load the model.
        MeasureError: the process ended or did not answer.
    """

    def __init__(
        self,
        arm: str,
        model: Path,
        settings: dict[str, Any],
        call_timeout_s: float | None = None,
        file: Path | None = None,
    ) -> None:
        self.arm = arm
        self.model = model
        # The worker opens a neutral copy; messages to the user name the model's own file.
        self._file = model.resolve() if file is None else file
        self._slack_s = CALL_TIMEOUT_S if call_timeout_s is None else call_timeout_s
        self._unread = b""
        self._folder = tempfile.TemporaryDirectory(prefix="leanmark-worker-")
        self._stderr = Path(self._folder.name, "stderr")
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                surroundings.command(),
                bufsize=0,  # nothing is left to be flushed into a pipe without a reader
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # Whatever a runtime writes to its working folder disappears with it.
                cwd=self._folder.name,
                env=surroundings.environment(),
            )
        try:
            self.facts = self.call("open", OPEN_TIMEOUT_S, model=str(self._file), **settings)
            self.surroundings = WorkerSurroundings(
                **self.facts.pop("started"), libraries=libraries.digests(self.facts.pop("libraries"))
            )
        # Also for Ctrl-C: an orphan would keep using the processor during later measurements.
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def inputs(self, path: Path, batch: int, first: int = 0, most: int | None = None) -> None:
        """Set the array file, (n, ...), whose batches the inferences cycle through: ``most`` from ``first`` on."""
        self.call("inputs", path=str(path), batch=batch, first=first, most=most)

    @still()
    def window(self, inferences: int, expected_s: float) -> WindowResult:
        """Run a number of inferences without interruption."""
        return WindowResult(**self.call("window", expected_s, inferences=inferences))

    @still()
    def latency(self, calls: int, seconds: float) -> list[float]:
        """Return wall seconds of single inferences, until there are ``calls`` of them or ``seconds`` have passed."""
        taken: list[float] = self.call("latency", seconds, calls=calls, seconds=seconds)["seconds"]
        return taken

    def predict(self, inputs: Path, outputs: Path, batch: int, expected_s: float) -> None:
        """Write the outputs for all samples of an array file to another file, float32 (n, ...)."""
        self.call("predict", expected_s, inputs=str(inputs), outputs=str(outputs), batch=batch)

    @still()
    def nodes(self, inferences: int, expected_s: float) -> list[NodeRun]:
        """Return the time of every node in some inferences; the session must have been opened with ``profile``.

        This ends the session, after which the worker cannot be used.
        """
        return [NodeRun(**node) for node in self.call("nodes", expected_s, inferences=inferences)["nodes"]]

    def peak_memory(self) -> int:
        """Return the peak resident memory so far, in bytes."""
        return int(self.call("peak_memory")["bytes"])

    def call(self, command: str, expected_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        """Send one command and wait for its answer.

        Raises:
            ModelError: the model cannot be loaded.
            MeasureError: the worker failed, ended or hangs; the message names the model, the failure and the worker's
                last output on standard error.
        """
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise MeasureError(f"The worker of the {self.arm} ({self.model}) is already closed.")
        try:
            stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._ended(command) from error
        # Ten times the expected time, because a busy machine or a first inference can be slow; only a worker that hangs
        # exceeds it.
        reply: dict[str, Any] = json.loads(self._line(command, SLOWER * expected_s + self._slack_s))
        if "error" in reply:
            raise ModelError(self._named(reply["error"]))
        return reply

    def _line(self, command: str, timeout_s: float) -> bytes:
        stdout = self._process.stdout
        if stdout is None:
            raise MeasureError(f"The worker of the {self.arm} ({self.model}) has no output stream.")
        end = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            # A plain read would block for ever if the worker hangs.
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self._kill()
                raise MeasureError(
                    f"The worker of the {self.arm} ({self.model}) did not answer '{command}' within {timeout_s:.0f} s "
                    f"and was terminated.{self._last_words()}"
                )
            # os.read returns what is there; a buffered read could wait for more although select said ready.
            part = os.read(stdout.fileno(), 1 << 16)
            if not part:
                raise self._ended(command)
            self._unread += part
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _ended(self, command: str) -> MeasureError:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        hint = " (out of memory?)" if how.endswith("SIGKILL") else ""  # Windows has no such signal
        return MeasureError(
            f"The worker of the {self.arm} ({self.model}) {how}{hint} during '{command}'.{self._last_words()}"
        )

    def _last_words(self) -> str:
        # A runtime's last lines, because the reason of a crash is only there.
        lines = self._stderr.read_text(errors="replace").strip().splitlines()[-STDERR_LINES:]
        return self._named(f" Its last output: {' | '.join(lines)}") if lines else ""

    def _named(self, sentence: str) -> str:
        """Return a sentence of the worker with the model's own name."""
        return sentence.replace(str(self._file), str(self.model))

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process; also called at the end of a ``with`` block."""
        # The worker ends when its input closes, so this is the polite way; the timeout covers the other case.
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._folder.cleanup()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the worker may be in a long inference and would not see its input close.
        if kind is not None:
            self._kill()
        self.close()
