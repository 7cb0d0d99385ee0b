"""Evidence of a measurement that is interrupted: its finished windows are not lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from certify.core.files import write_bytes
from certify.measure.windows import MeasurementInterrupted, MeasurementStopped, window_line

PARTIAL_NAME = "evidence.partial.jsonl"


@contextlib.contextmanager
def keeping_windows(folder: Path) -> Iterator[None]:
    """Save the finished windows of a measurement that is interrupted, for inspection, and say where they are."""
    path = folder / PARTIAL_NAME
    try:
        yield
    except (MeasurementStopped, MeasurementInterrupted) as stopped:
        if not stopped.windows:
            raise
        write_bytes(path, b"".join(window_line(window) for window in stopped.windows))
        kept = f"The {len(stopped.windows)} finished windows are saved in {path}; no measurement reuses them."
        sentence = f"{stopped} {kept}"
        # The class is kept, because callers treat a failure and Ctrl-C differently.
        raise type(stopped)(sentence.lstrip(), stopped.windows) from stopped
    path.unlink(missing_ok=True)  # left by an earlier interrupted measurement
