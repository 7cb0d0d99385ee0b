"""Run makers in processes of their own, with time, peak memory and what the neighbours used meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.measure.host import Host, around
from certify.measure.surroundings import environment
from peer_bench.job import RESULT, Job
from peer_bench.makers import MAKERS

LIMIT_S = 1800.0
BENCHMARKS = Path(__file__).resolve().parents[1]
QUIET_ENVIRONMENT = {"OPENVINO_TELEMETRY": "0", "NNCF_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
ERROR = 200
"""Characters of a failure that a table holds."""


@dataclass(frozen=True)
class Artifact:
    """A file and how it was made.

    Attributes:
        name: key in MAKERS, or ``float``.
        title: how tables call it.
        settings: in a few words.
        own: whether it is leanmark's.
        version: of the maker's distribution.
        file: the file, or None.
        why_not: why there is none.
        bytes: its size with all files beside it.
        wall_s: making time on the clock, imports included.
        cpu_s: processor time of the maker's process.
        peak_bytes: largest resident memory of the maker's process.
        foreign_cores: cores that other processes used meanwhile.
        macs: multiply-adds of one sample, if it has not as many as the float file.
    """

    name: str
    title: str
    settings: str = ""
    own: bool = False
    version: str = ""
    file: Path | None = None
    why_not: str = ""
    bytes: int | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_bytes: int | None = None
    foreign_cores: float | None = None
    macs: int | None = None


def float_artifact(job: Job) -> Artifact:
    """Return the file that all start from."""
    return Artifact("float", "float", file=job.float_file, bytes=size_of(job.float_file))


def make(name: str, job: Job) -> Artifact:
    """Run one maker; a failure becomes a row that says why."""
    maker = MAKERS[name]
    known = {"name": name, "title": maker.title, "settings": maker.settings, "own": maker.own}
    if (why := maker.missing()) is not None:
        return Artifact(**known, why_not=why)
    out = job.folder / name
    out.mkdir()
    host = Host()
    before, began = host.snapshot(), time.perf_counter()
    command = [sys.executable, "-m", "peer_bench.makers", name, str(job.folder), str(out)]
    with (out / "log").open("wb") as log:
        try:
            done = subprocess.run(
                command, cwd=BENCHMARKS, env={**environment(), **QUIET_ENVIRONMENT}, stdout=log, stderr=log,
                timeout=LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Artifact(**known, why_not=f"not made: took more than {LIMIT_S:.0f} s")
    wall = time.perf_counter() - began
    if done.returncode or not (out / RESULT).is_file():
        return Artifact(**known, why_not=f"not made: {_last_words(out / 'log', done.returncode)}")
    told: dict[str, Any] = json.loads((out / RESULT).read_text())
    shares = around(before, host.snapshot(), 0.0, told["cpu_s"], 0.0)
    used = shares["foreign_cpu_share"]
    facts = {key: told[key] for key in ("version", "cpu_s", "peak_bytes")}
    facts |= {"wall_s": wall, "foreign_cores": None if used is None else used * before.processors}
    if "declined" in told:
        return Artifact(**known, **facts, why_not=f"declined: {told['declined']}")
    file = Path(told["file"])
    return Artifact(**known, **facts, file=file, bytes=size_of(file))


def size_of(file: Path) -> int:
    """Return the size of a file with its weights, stored next to it under the same stem or name."""
    beside = (file.with_suffix(".bin"), file.with_name(f"{file.name}.data"))
    return sum(each.stat().st_size for each in (file, *beside) if each.is_file())


def _last_words(log: Path, code: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return (lines[-1].strip() if lines else f"exit status {code}")[:ERROR]
