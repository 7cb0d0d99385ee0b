"""Prune every architecture of a zoo to 0.6 of its multiply-adds, export, quantize to int8, run, and compare.

Run ``make coverage``, or ``python tests/zoo/zoo.py [--zoo ZOO] [--models PATTERN] [--again]``. ZOO is torchvision,
timm or transformers. The script prints a Markdown table and writes it to ``build/coverage/``, next to a file with one
JSON line per architecture. Architectures with a line are skipped, so an interrupted run resumes; ``--again`` repeats
incomplete ones, and ``--table`` only prints. Weights are random (seed 0). Each architecture has its own process, which
is killed when it exceeds its limit of processor time or memory. The architectures of timm and transformers need the
extras of these names. Linux.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from table import complete, markdown

from certify.core.files import write_text

OUT = Path(__file__).parents[2] / "build" / "coverage"
TIME_LIMIT_S, MEMORY_LIMIT_GIB = 3600.0, 16.0
WALL_FACTOR = 8
"""A process that waits takes no processor time; after this many times the limit it is ended nevertheless."""
LOOK_S = 0.2
ZOOS = ("torchvision", "timm", "transformers")

Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What one architecture may take: processor seconds and resident GiB."""

    seconds: float
    gibibytes: float


def state(path: Path) -> dict[str, Row]:
    """Rows by name; of several for one architecture the last counts, and a line that was cut off does not."""
    rows: dict[str, Row] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["model"]] = row
    return rows


def run(name: str, limits: Limits) -> Row:
    """One architecture in a process of its own; its row, however the process ended."""
    with tempfile.TemporaryDirectory(prefix="zoo.") as folder:
        told = Path(folder, "row.json")
        command = [sys.executable, __file__, "--one", name, "--folder", folder]
        with Path(folder, "errors").open("wb") as errors:
            process = subprocess.Popen(command, stderr=errors)
            why, used = _watch(process, limits)
        row: Row = json.loads(told.read_text()) if told.is_file() else {"model": name, "at": "start"}
        if why is None and process.returncode != 0:
            last = Path(folder, "errors").read_text(errors="replace").strip().splitlines()
            why = f"ended with {process.returncode}: {last[-1][:300] if last else 'no message'}"
    if why is not None:
        row["failed"] = why
    return {**row, **used}


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> tuple[str | None, dict[str, float]]:
    """Wait for the process; why it was ended, if it was, and what it took."""
    began, seconds, peak = time.monotonic(), 0.0, 0.0
    why = None
    while process.poll() is None:
        seconds, peak = _used(process.pid) or (seconds, peak)
        if seconds > limits.seconds:
            why = f"took more than {limits.seconds:g} s of processor time"
        elif time.monotonic() - began > WALL_FACTOR * limits.seconds:
            why = f"took longer than {WALL_FACTOR * limits.seconds:g} s"
        elif peak > limits.gibibytes:
            why = f"took more than {limits.gibibytes:g} GiB of memory"
        if why is not None:
            process.kill()
            process.wait()
            break
        time.sleep(LOOK_S)
    return why, {"cpu_seconds": round(seconds, 1), "peak_gib": round(peak, 2)}


def _used(pid: int) -> tuple[float, float] | None:
    """Processor seconds and largest resident GiB so far (stat and status of proc(5)); None where it has ended."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    peaks = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    ticks = int(times[11]) + int(times[12])
    return (ticks / os.sysconf("SC_CLK_TCK"), peaks[0] / 2**20) if peaks else None


def one(name: str, folder: Path) -> None:
    """What the process of an architecture does."""
    import torch
    from architecture import go

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    go(name, folder, lambda row: write_text(folder / "row.json", json.dumps(row)))


def cover(names: Sequence[str], path: Path, limits: Limits, *, again: bool = False) -> None:
    """Do what has not been done, a line in ``path`` for each as soon as it is there."""
    done = {name for name, row in state(path).items() if complete(row) or not again}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name not in done:
            row = run(name, limits)
            with path.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            print(f"{name}: {row.get('failed') or 'done'} ({row['cpu_seconds']:g} s)", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", choices=ZOOS, action="append")
    parser.add_argument("--models", default="*", help="shell pattern of names, without timm: and the like")
    parser.add_argument("--again", action="store_true", help="repeat those that were not completed")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT_S, help="processor seconds an architecture")
    parser.add_argument("--memory-limit", type=float, default=MEMORY_LIMIT_GIB, help="GiB an architecture")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        one(given.one, given.folder)
        return
    import architectures  # not above: it loads torch

    limits = Limits(given.time_limit, given.memory_limit)
    for zoo in given.zoo or ZOOS:
        names = [name for name in architectures.names(zoo) if fnmatch.fnmatch(name.rpartition(":")[2], given.models)]
        path = given.out / f"{zoo}.jsonl"
        if not given.table:
            cover(names, path, limits, again=given.again)
        text = markdown(zoo, architectures.names(zoo), state(path))
        write_text(given.out / f"{zoo}.md", text)
        print(text)


if __name__ == "__main__":
    main()
