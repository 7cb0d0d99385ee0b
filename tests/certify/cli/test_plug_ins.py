"""Meters, runtimes and metrics of another distribution, used and listed as the program does it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from certify import api
from certify.assessments.efficiency.known_meters import counted_level, fault, is_plug_in
from certify.core.errors import MeasureError, UsageError
from certify.measure import meters, runtimes
from certify.measure.plan import Plan

Run = Callable[..., Result]
Make = Callable[..., Path]
PARTS = '''
import time

from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Reading
from certify.measure.meters.rapl_powercap import RaplPowercap
from certify.measure.runtimes.onnxruntime_cpu import OnnxRuntimeCpu


class Socket:
    """A wall socket that counts 20 W."""

    name = "socket"
    devices = frozenset({"cpu", "cuda"})
    scope = "wall"
    resolution = "1 mJ"
    privilege = "none"
    level = EvidenceLevel.WALL

    def unavailable(self):
        return None

    def facts(self, refused):
        return MeterFacts(self.name, "wall", self.scope, "energy counter of the socket", 1.01, dict(refused))

    def start(self):
        self.before = int(time.monotonic() * 20_000)

    def stop(self, usage):
        after = int(time.monotonic() * 20_000)
        raw = {"socket_before_mj": float(self.before), "socket_after_mj": float(after)}
        return Reading((after - self.before) * 1e-3, raw)


class Impostor(Socket):
    name = "nvml"


class Failing(Socket):
    name = "failing"

    def unavailable(self):
        raise RuntimeError("cable is loose")


class Patient(OnnxRuntimeCpu):
    """ONNX Runtime under another name."""


def faked():
    from pathlib import Path
    return RaplPowercap(Path("/nowhere"))


def margin(outputs, labels):
    return outputs[range(len(labels)), labels] > outputs.mean(axis=1)
'''
POINTS = {
    "leanmark.meters": {"socket": "bench_parts:Socket"},
    "leanmark.runtimes": {"patient": "bench_parts:Patient"},
    "leanmark.metrics": {"margin": "bench_parts:margin"},
}
FLAGS = [
    "--input-size", "8x8", "--colour", "RGB", "--scale", "255", "--mean", "0,0,0", "--std", "1,1,1", "--layout", "NCHW",
    "--resize", "none", "--crop", "none", "--interpolation", "bilinear",
]  # fmt: skip
CODE = hashlib.sha256(PARTS.encode()).hexdigest()


@pytest.fixture
def bench(install: Make) -> Path:
    return install("bench", POINTS, bench_parts=PARTS)


@pytest.fixture(params=["installed", "in the working folder"])
def parts(request: pytest.FixtureRequest, install: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that name a meter, a runtime and a metric of somebody else's."""
    if request.param == "installed":
        install("bench", POINTS, bench_parts=PARTS)
        return ["--meter", "socket", "--runtime", "patient", "--metric", "margin"]
    (tmp_path / "bench_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "bench_parts", raising=False)
    return ["--meter", "bench_parts:Socket", "--runtime", "bench_parts:Patient", "--metric", "bench_parts:margin"]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """The specification of forty images of noise in three classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "photos.npz", x=pixels, y=np.arange(40) % 3)
    return f"npz:train={tmp_path}/photos.npz,test={tmp_path}/photos.npz"


def _short(real: Any) -> Any:
    """Let a command measure for as short a time as a plan allows."""

    def profile(model: Path, plan: list[Plan], **settings: Any) -> Any:
        plans = [replace(one, window_s=0.05, min_blocks=2, yardstick=False) for one in plan]
        return real(model, plan=plans, **settings)

    return profile


def test_profile_measures_with_third_party_plug_ins_when_named(
    parts: list[str], leanmark: Run, onnx_file: Make, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("certify.api.profile", _short(api.profile))
    done = leanmark(
        "profile", onnx_file(), "--data", data, *parts, "--threads", 1, "--time-limit", 1, "--out", tmp_path / "out",
        *FLAGS,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (file,) = (tmp_path / "out").glob("evidence-*.jsonl")
    header, *records = map(json.loads, file.read_text().splitlines())
    assert (header["meter"]["name"], header["meter"]["code"]) == ("socket", CODE)
    assert header["workload"]["runtime"] == "bench_parts:Patient"
    assert (header["data"]["metric"], header["data"]["metric_code"]) == ("bench_parts:margin", CODE)
    windows = [record for record in records if record["kind"] == "window"]
    assert windows and all(window["energy_j"] > 0 and window["reading"] for window in windows)


@pytest.mark.parametrize("name", ["socket", "bench_parts:Socket"])
def test_plug_in_counts_as_sampled_and_states_its_code_however_it_is_named(bench: Path, name: str) -> None:
    facts = meters.require(name, "cpu").facts()
    assert facts is not None and facts.code == CODE
    assert is_plug_in(facts) and fault(facts, {}) is None
    assert (facts.level, counted_level(facts).value) == ("wall", "sampled")


def test_plug_in_is_never_chosen_unless_named(bench: Path) -> None:
    choice = meters.choose("cpu")
    assert choice.meter is not None and choice.meter.name != "socket" and "socket" not in choice.refused
    assert "patient" in runtimes.RUNTIMES.names() and "patient" not in runtimes.RUNTIMES.own


def test_sum_states_the_code_of_the_plug_in_among_its_parts(bench: Path) -> None:
    parts = [meters.get("bench_parts:Socket"), meters.get("vcpu-watts")]
    assert [meters.code(part) for part in parts] == [CODE, None]
    with pytest.raises(UsageError, match="cover the same device"):
        meters.get("socket+vcpu-watts")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bench_parts:Impostor", "has the name 'nvml' of certify.measure.meters.nvml:Nvml"),
        ("bench_parts:faked", "has the name 'rapl-powercap' of"),
        ("bench_parts:margin", "cannot be used .TypeError"),
        ("bench_parts:Patient", "it lacks name, devices, scope, .*start, stop"),
        ("sockt", "did you mean 'socket'"),
    ],
)
def test_plug_in_is_refused_when_it_pretends_or_is_not_a_meter(bench: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        meters.get(name)


def test_plug_in_is_refused_when_its_source_cannot_be_read(bench: Path) -> None:
    meters.get("socket")
    (bench / "bench_parts.py").unlink()
    with pytest.raises(MeasureError, match="The source of the meter socket cannot be read"):
        meters.get("socket")


def test_meters_lists_plug_ins_and_why_broken_ones_cannot_be_used(leanmark: Run, install: Make) -> None:
    points = {"socket": "bench_parts:Socket", "failing": "bench_parts:Failing", "gone": "bench_parts:Gone",
              "hwmon": "bench_parts:Socket"}  # fmt: skip
    install("bench", {"leanmark.meters": points}, bench_parts=PARTS)
    listed = json.loads(leanmark("meters", "--json").stdout)
    (socket,) = (row for row in listed["meters"] if row["name"] == "socket")
    assert (socket["available"], socket["code"], socket["used_for"]) == (True, CODE, [])
    assert [row["name"] for row in listed["meters"]] == [*meters.METERS.own, "socket"]
    assert set(listed["unusable"]) == {"failing", "gone", "bench_parts:Socket"}
    assert "of bench 1.0 cannot be used (RuntimeError: cable is loose)" in listed["unusable"]["failing"]
    shown = " ".join(leanmark("meters").stdout.split())
    assert (
        "socket is a plug-in: it is used only if you name it, and its joules count as sampled at best. "
        f"Its code digest is {CODE}" in shown
    )
    for words in ("cable is loose", "has no attribute 'Gone'", "'hwmon' is built in"):
        assert words in shown, words


@pytest.mark.parametrize("option", ["--meter", "--runtime", "--metric"])
def test_broken_plug_in_is_refused_in_one_sentence_when_it_is_named(
    leanmark: Run, onnx_file: Make, install: Make, data: str, tmp_path: Path, option: str
) -> None:
    group = f"leanmark.{option.removeprefix('--')}s"
    install("bench", {group: {"gone": "bench_parts:Gone"}}, bench_parts=PARTS)
    arguments = ["--data", data, option, "gone", *FLAGS]
    done = leanmark(
        "certify", onnx_file("a.onnx"), "--baseline", onnx_file("b.onnx"), *arguments, "--out", tmp_path / "o"
    )
    assert done.exit_code == 2 and done.stderr.count("Error") == 2 and "Traceback" not in done.stderr
    assert f"The {option.removeprefix('--')} 'gone' of bench 1.0 cannot be used (AttributeError" in done.stderr
