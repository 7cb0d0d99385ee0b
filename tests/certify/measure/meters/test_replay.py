from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from certify.core.errors import MeasureError, UsageError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters import choose, get, require
from certify.measure.meters.base import Usage
from certify.measure.meters.replay import Recording, Replay
from certify.measure.meters.trace import TraceWindow, TraceWriter, read_trace
from certify.measure.meters.vcpu_watts import VcpuWatts

FACTS = MeterFacts("nvml", "counter", "board", "total energy counter", None, {"hwmon": "no"}, {"board": "H"})
WINDOWS = (
    TraceWindow(5.0, 0.1, 800.5, {"board_before_mj": 1.0, "board_after_mj": 800501.0}, "float", 200),
    TraceWindow(5.1, 0.1, 400.25),
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "a+b.jsonl"
    writer = TraceWriter(path, FACTS, frozenset({"cuda"}))
    for window in WINDOWS:
        writer.write(window)
    return path


def test_trace_reads_back_the_same_when_written(trace: Path) -> None:
    read = read_trace(trace)
    assert (read.meter, read.devices, read.windows) == (FACTS, {"cuda"}, WINDOWS)


def test_replay_returns_the_recorded_readings_window_by_window(trace: Path) -> None:
    meter = get(f"replay:{trace}")
    with pytest.raises(MeasureError, match="before it was started"):
        meter.stop(Usage(1.0, 1.0))
    assert meter.unavailable() is None
    assert (meter.name, meter.level, meter.scope) == ("replay:nvml", EvidenceLevel.COUNTER, "board")
    for window in WINDOWS:
        meter.start()
        reading = meter.stop(Usage(1.0, 1.0))
        assert reading.energy_j == window.energy_j
        assert reading.raw == {**window.reading, "recorded_duration_s": window.duration_s}
    meter.start()
    with pytest.raises(MeasureError, match="has only 2 windows"):
        meter.stop(Usage(1.0, 1.0))


def test_evidence_says_that_a_meter_is_a_replay(trace: Path) -> None:
    facts = require(f"replay:{trace}", "cuda").meter.facts({})
    assert facts.name == "replay:nvml" and facts.method.startswith("replay of a recorded trace")
    assert (facts.level, facts.refused, facts.parameters) == ("counter", {}, {"board": "H"})


def test_replay_is_never_chosen_unless_named() -> None:
    choice = choose("cpu")
    assert choice.meter is not None and not choice.meter.name.startswith("replay")
    assert "replay" not in choice.refused
    assert "--meter replay:PATH" in (Replay().unavailable() or "")


def test_replay_is_refused_when_the_recorded_meter_covers_another_device(trace: Path) -> None:
    with pytest.raises(MeasureError, match="replay:nvml covers the GPU"):
        require(f"replay:{trace}", "cpu")


@pytest.mark.parametrize(
    ("line", "change", "words"),
    [
        (1, {"version": 2}, "line 1: version 2 is unknown"),
        (1, {"kind": "window"}, "line 1: the object must be of kind 'trace', got 'window'"),
        (1, {"devices": ["tpu"]}, "line 1: 'devices' must name"),
        (1, {"meter": {}}, "line 1: 'meter' must hold"),
        (2, {"energy_j": "much"}, "line 2: 'energy_j' must be a finite number"),
        (2, {"reading": {"a": None}}, "line 2: 'a' must be a finite number"),
        (3, {"inferences": 1.5}, "line 3: 'inferences' must be an integer"),
        (3, {"cpu_s": None}, "line 3: 'cpu_s'"),
    ],
)
def test_trace_is_refused_with_its_line_when_it_is_malformed(
    trace: Path, line: int, change: dict[str, Any], words: str
) -> None:
    lines = trace.read_text().splitlines()
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), **change})
    trace.write_text("\n".join(lines) + "\n")
    assert words in (Replay(trace).unavailable() or "")


def test_trace_is_refused_when_truncated_empty_or_missing(trace: Path, tmp_path: Path) -> None:
    trace.write_text(trace.read_text()[:-20])
    assert "line 3" in (Replay(trace).unavailable() or "")
    trace.write_text("")
    assert "line 1" in (Replay(trace).unavailable() or "")
    assert "cannot be read" in (Replay(tmp_path / "none.jsonl").unavailable() or "")


def test_recording_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    meter = Recording(VcpuWatts(tmp_path, vcpus=2), path)
    assert meter.unavailable() is None
    used = [Usage(1.0, 1.5), Usage(2.0, 0.5)]
    recorded = []
    for usage in used:
        meter.start()
        recorded.append(meter.stop(usage).energy_j)
    replay = Replay(path)
    assert replay.unavailable() is None and replay.name == "replay:vcpu-watts"
    for joules in recorded:
        replay.start()
        assert replay.stop(Usage(0.1, 0.1)).energy_j == joules
    assert [(window.duration_s, window.cpu_s) for window in read_trace(path).windows] == [(1.0, 1.5), (2.0, 0.5)]


def test_record_uses_the_best_meter_and_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    choice = require(f"record:{path}", "cpu")
    best = choose("cpu")
    assert choice.meter is not None and best.meter is not None
    assert choice.meter.name == best.meter.name and choice.refused == best.refused
    path.touch()
    with pytest.raises(MeasureError, match="already exists"):
        require(f"record:{path}", "cpu")


def test_get_asks_for_the_rest_when_nothing_follows_the_colon() -> None:
    with pytest.raises(UsageError, match="must have an argument after the colon"):
        get("replay:")
