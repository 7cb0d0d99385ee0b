"""Readings of another meter from a trace, played back window by window; and the recording of such a trace.

Reads: a file of recorded readings (certify/measure/meters/trace.py describes it); nothing of this machine. The first
    window that is measured gets the first reading of the trace, and so on; after the last one it fails.
Scope: the recorded meter's.
Resolution: the recorded meter's.
Wrap: none; the recorder undid it.
Privilege: the right to read the file.
Known lies: the joules belong to the recorded run, whatever runs now. A figure made with it tells nothing of the models
    that are measured here, and its name in the evidence says so (``replay:nvml``). It is never chosen by itself.
Source: https://jsonlines.org/ for the form of the file.
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
"""Scope, resolution and level of the meter before it has a trace."""
HOW = "It plays a recorded trace back and is never chosen by itself. Name one: --meter replay:PATH."


class Replay:
    """Plays a trace.

    Args:
        path: of the trace; None for the meter that is listed and can't be used.
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
        """The meter for ``replay:PATH``."""
        return cls(Path(argument))

    @property
    def name(self) -> str:
        """``replay``, and behind a colon the recorded meter's name once the trace is read."""
        return "replay" if self._trace is None else f"replay:{self._trace.meter.name}"

    @property
    def devices(self) -> frozenset[str]:
        """Those that the recorded meter covered."""
        return frozenset({"cpu", "cuda"}) if self._trace is None else self._trace.devices

    @property
    def scope(self) -> str:
        """The recorded meter's."""
        return AS_RECORDED if self._trace is None else self._trace.meter.scope

    @property
    def level(self) -> EvidenceLevel:
        """The recorded meter's."""
        return EvidenceLevel.PROXY if self._trace is None else EvidenceLevel(self._trace.meter.level)

    def unavailable(self) -> str | None:
        """Why there is nothing to play, or None."""
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
        """The recorded meter's, under this name."""
        meter = self._read().meter
        return dataclasses.replace(
            meter, name=self.name, method=f"replay of a recorded trace: {meter.method}", refused=dict(refused)
        )

    def start(self) -> None:
        """Read the trace, where it was not read yet."""
        self._read()
        self._started = True

    def stop(self, usage: Usage) -> Reading:
        """The next reading; ``recorded_duration_s`` tells how long its window lasted."""
        if not self._started:
            raise not_started(self.name)
        self._started = False
        windows = self._read().windows
        if self._next == len(windows):
            raise MeasureError(f"The meter {self.name} failed midway: {self._path} holds {len(windows)} windows.")
        window = windows[self._next]
        self._next += 1
        return Reading(window.energy_j, {**window.reading, "recorded_duration_s": window.duration_s})


class Recording:
    """A meter whose readings are also written to a trace.

    Args:
        meter: that is read.
        path: of the trace, a file that is not there yet; it is made when the first window ends.
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
        """The meter's."""
        return self.meter.level

    def unavailable(self) -> str | None:
        """Why the meter can't be used or the trace not be written, or None."""
        if self._path.exists():
            return f"The trace {self._path} is there already. Name another file."
        return self.meter.unavailable()

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """The meter's."""
        return self.meter.facts(refused)

    def start(self) -> None:
        """Begin the meter's window."""
        self.meter.start()

    def stop(self, usage: Usage) -> Reading:
        """End the meter's window, and write it down."""
        reading = self.meter.stop(usage)
        if self._writer is None:
            self._writer = TraceWriter(self._path, self.meter.facts({}), self.meter.devices)
        self._writer.write(TraceWindow(usage.duration_s, usage.cpu_s, reading.energy_j, reading.raw))
        return reading
