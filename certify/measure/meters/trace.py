"""File of recorded readings, for the meter ``replay``.

A trace is a text file of JSON objects, one per line. The first is the header::

    {"kind": "trace", "version": 1, "devices": ["cuda"], "meter": {...}}

where ``meter`` holds the fields of :class:`certify.core.evidence.MeterFacts`. Each further line is a window::

    {"kind": "window", "label": "", "inferences": null, "duration_s": 5.02, "cpu_s": 0.3, "energy_j": 812.4,
     "reading": {"board_before_mj": 10.0, "board_after_mj": 812410.0}}

``label`` and ``inferences`` state what ran and how often, if the recorder knew; ``duration_s`` and ``cpu_s`` are the
worker's, and ``reading`` holds the meter's raw values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from certify.core.errors import MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts

VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class TraceWindow:
    """One recorded window; see the module's docstring."""

    duration_s: float
    cpu_s: float
    energy_j: float
    reading: Mapping[str, float] = field(default_factory=dict)
    label: str = ""
    inferences: int | None = None


@dataclass(frozen=True)
class Trace:
    """A recorded meter and its windows."""

    meter: MeterFacts
    devices: frozenset[str]
    windows: tuple[TraceWindow, ...]


class TraceWriter:
    """Writer of a trace, line by line, so that a stopped run keeps its windows.

    Args:
        path: path of a new file.
        meter: facts of the recorded meter.
        devices: devices that it covers.

    Raises:
        MeasureError: the file already exists, or cannot be written.
    """

    def __init__(self, path: Path, meter: MeterFacts, devices: frozenset[str]) -> None:
        self._path = path
        header = {"kind": "trace", "version": VERSION, "devices": sorted(devices), "meter": asdict(meter)}
        # Mode "x", because a file created since Recording.unavailable() must not be overwritten.
        self._line("x", header)

    def write(self, window: TraceWindow) -> None:
        """Add a window."""
        self._line("a", {"kind": "window", **asdict(window)})

    def _line(self, mode: str, values: Mapping[str, Any]) -> None:
        try:
            with self._path.open(mode, encoding="utf-8") as stream:
                # NaN is not JSON, so other readers could not parse the trace.
                stream.write(json.dumps(values, allow_nan=False) + "\n")
        except OSError as error:
            reason = f"The trace {self._path} cannot be written ({error.strerror}). Name another file."
            raise MeasureError(reason) from error


def read_trace(path: Path) -> Trace:
    """Read a trace.

    Raises:
        MeasureError: the file cannot be read, or a line is invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MeasureError(
            f"The trace {path} cannot be read ({error}). Record one with --meter record:PATH."
        ) from error
    devices, meter = _parsed(path, 1, lines[0] if lines else "", _header)
    windows = tuple(_parsed(path, number, line, _window) for number, line in enumerate(lines[1:], start=2))
    return Trace(meter, devices, windows)


def _parsed(path: Path, number: int, line: str, parse: Callable[[dict[str, Any]], T]) -> T:
    try:
        return parse(json.loads(line))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise MeasureError(f"The trace {path}, line {number}: {what}.") from error


def _expect(values: dict[str, Any], kind: str) -> None:
    if values["kind"] != kind:
        raise ValueError(f"the object must be of kind '{kind}', got {values['kind']!r}")


def _header(values: dict[str, Any]) -> tuple[frozenset[str], MeterFacts]:
    _expect(values, "trace")
    if values["version"] != VERSION:
        raise ValueError(f"version {values['version']!r} is unknown (known: {VERSION})")
    devices = frozenset(values["devices"])
    if not devices or devices - {"cpu", "cuda"}:
        raise ValueError("'devices' must name cpu, cuda or both")
    meter = values["meter"]
    texts = ("name", "level", "scope", "method")
    if set(meter) != {f.name for f in fields(MeterFacts)} or not all(isinstance(meter[name], str) for name in texts):
        raise ValueError("'meter' must hold the facts of a meter")
    # Called for its error: an unknown level must fail here, not when the evidence is judged.
    EvidenceLevel(meter["level"])
    return devices, MeterFacts(**meter)


def _window(values: dict[str, Any]) -> TraceWindow:
    _expect(values, "window")
    numbers = {name: _number(name, values[name]) for name in ("duration_s", "cpu_s", "energy_j")}
    reading = {str(name): _number(name, value) for name, value in values["reading"].items()}
    inferences = values["inferences"]
    if inferences is not None and type(inferences) is not int:
        raise ValueError(f"'inferences' must be an integer or null, got {inferences!r}")
    return TraceWindow(**numbers, reading=reading, label=str(values["label"]), inferences=inferences)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"'{name}' must be a finite number, got {value!r}")
    return float(value)
