"""Replay of another meter's readings from a trace, window by window; and recording of such traces.

Reads: a file of recorded readings (see certify/measure/meters/trace.py); nothing of this machine. The first measured
    window gets the first reading of the trace, and so on; after the last one it fails.
Scope: the recorded meter's.
Resolution: the recorded meter's.
Wrap: none; undone by the recorder.
Privilege: permission to read the file.
Known lies: the joules belong to the recorded run, whatever runs now. A figure made with it says nothing about the
    models measured here, as its name in the evidence shows (``replay:nvml``). It is never chosen automatically.
Source: https://jsonlines.org/ for the file format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Meter, Reading, Usage, not_started
from certify.measure.meters.trace import Trace, TraceWindow, TraceWriter, read_trace

AS_RECORDED = "as recorded"
"""Scope, resolution and level of the meter before it has read a trace."""
HOW = "It replays a recorded trace and is never chosen automatically. Name a trace: --meter replay:PATH."


class Replay:
    """Meter that replays a trace.

    Args:
        path: path of the trace; None for the entry in the list of meters, which cannot be used.
    """

    resolution = AS_RECORDED
    privilege = "the right to read the file"

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._trace: Trace | None = None
        self._next = 0
        self._started = False

    @classmethod
    def of(cls, argument: str) -> Replay:
        """Return the meter for ``replay:PATH``."""
        return cls(Path(argument))

    @property
    def name(self) -> str:
        """``replay``, followed by a colon and the recorded meter's name once the trace is read."""
        return "replay" if self._trace is None else f"replay:{self._trace.meter.name}"

    @property
    def devices(self) -> frozenset[str]:
        """Devices of the recorded meter."""
        return frozenset({"cpu", "cuda"}) if self._trace is None else self._trace.devices

    @property
    def scope(self) -> str:
        """Scope of the recorded meter."""
        return AS_RECORDED if self._trace is None else self._trace.meter.scope

    @property
    def level(self) -> EvidenceLevel:
        """Level of the recorded meter."""
        # The weakest level, until the trace is read and states another.
        return EvidenceLevel.PROXY if self._trace is None else EvidenceLevel(self._trace.meter.level)

    def unavailable(self) -> str | None:
        """Return why there is nothing to replay, or None."""
        try:
            self._read()
        except MeasureError as error:
            return str(error)
        return None

    def _read(self) -> Trace:
        if self._path is None:
            raise MeasureError(HOW)
        if self._trace is None:
            self._trace = read_trace(self._path)
        return self._trace

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return the recorded meter's facts, under this meter's name."""
        meter = self._read().meter
        return dataclasses.replace(
            meter, name=self.name, method=f"replay of a recorded trace: {meter.method}", refused=dict(refused)
        )

    def start(self) -> None:
        """Read the trace, unless already read."""
        self._read()
        self._started = True

    def stop(self, usage: Usage) -> Reading:
        """Return the next reading; ``recorded_duration_s`` is the length of its window."""
        if not self._started:
            raise not_started(self.name)
        self._started = False
        windows = self._read().windows
        if self._next == len(windows):
            raise MeasureError(
                f"The meter {self.name} failed during a window: {self._path} has only {len(windows)} windows."
            )
        window = windows[self._next]
        self._next += 1
        return Reading(window.energy_j, {**window.reading, "recorded_duration_s": window.duration_s})


class Recording:
    """A meter whose readings are also written to a trace.

    Args:
        meter: meter to record.
        path: path of the trace, a new file; it is created when the first window ends.
    """

    def __init__(self, meter: Meter, path: Path) -> None:
        self.meter = meter
        self._path = path
        self._writer: TraceWriter | None = None
        self.name = meter.name
        self.devices = meter.devices
        self.scope = meter.scope
        self.resolution = meter.resolution
        self.privilege = meter.privilege

    @property
    def level(self) -> EvidenceLevel:
        """Level of the meter."""
        return self.meter.level

    def unavailable(self) -> str | None:
        """Return why the meter cannot be used or the trace cannot be written, or None."""
        if self._path.exists():
            return f"The trace {self._path} already exists. Name another file."
        return self.meter.unavailable()

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return the meter's facts."""
        return self.meter.facts(refused)

    def start(self) -> None:
        """Start the meter's window."""
        self.meter.start()

    def stop(self, usage: Usage) -> Reading:
        """Stop the meter's window and record it."""
        reading = self.meter.stop(usage)
        if self._writer is None:
            # Created only now, because a meter knows its facts only after it has been opened.
            self._writer = TraceWriter(self._path, self.meter.facts({}), self.meter.devices)
        self._writer.write(TraceWindow(usage.duration_s, usage.cpu_s, reading.energy_j, reading.raw))
        return reading
