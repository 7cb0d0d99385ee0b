"""Hostile input: what was tried, and whether anything but a typed error, an answer in time, or little memory came out.

Run ``python tests/fuzz/hostile.py --count 100000 --seed 0``; it leaves with 1 where an input led to another error than
a LeanmarkError, took more than 2 s of processor time or 500 MB, crashed the process, opened a file outside of its
folder, ran a command, unpickled something, or put a script into a drawing. Half of the inputs come from mutations of
good ones, half from atheris, which follows the coverage of the code (``--guided 0`` leaves it out). One input is run
again with ``--only TARGET:NUMBER``.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graded import own_folders
from targets import Target, targets

from certify.errors import LeanmarkError

LONGEST_S = 2.0
LARGEST_BYTES = 500_000_000
HANGING_S = 20
"""After this time the process is ended, as no Python code may run in a library that does not come back."""
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class", "socket.")
"""Events of the interpreter's audit that reading must never raise."""

READABLE = tuple(str(Path(path).resolve()) for path in {sys.prefix, sys.base_prefix, Path(__file__).parents[2]})


@dataclass
class Outcome:
    """What came of the inputs of one target.

    Attributes:
        tried: how many were run.
        accepted: how many were read without an error.
        refused: how many ended in each typed error.
        wrong: what must not happen, as (number of the input, what happened).
        slowest_s: processor time of the slowest.
        largest_bytes: by how much one input made the process grow.
    """

    tried: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_bytes: int = 0

    def add(self, other: Outcome) -> None:
        """Take in what came of more inputs."""
        self.tried += other.tried
        self.accepted += other.accepted
        for kind, number in other.refused.items():
            self.refused[kind] = self.refused.get(kind, 0) + number
        self.wrong += other.wrong
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)


class Watch:
    """Sees, through the interpreter's audit, what a reader opens and starts.

    Args:
        folder: where files may be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.seen: list[str] = []
        self.on = False
        self._allowed = (str(folder.resolve()), *READABLE)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(self._allowed) and not path.startswith(("/proc/", "/dev/null", "/dev/urandom")):
                self.seen.append(f"opened {path}"[:200])


def run_one(target: Target, content: bytes, watch: Watch, outcome: Outcome, number: int) -> None:
    """Give one input to its reader and note what came of it."""
    outcome.tried += 1
    watch.seen.clear()
    before, began = _resident_bytes(), time.process_time()
    watch.on = True
    faulthandler.dump_traceback_later(HANGING_S, exit=True)
    try:
        target.run(content)
        outcome.accepted += 1
    except LeanmarkError as error:
        kind = type(error).__name__
        outcome.refused[kind] = outcome.refused.get(kind, 0) + 1
    except Exception:
        outcome.wrong.append((number, traceback.format_exc(limit=-4)))
    finally:
        watch.on = False
        faulthandler.cancel_dump_traceback_later()
    took, grown = time.process_time() - began, _peak_bytes() - before
    outcome.slowest_s = max(outcome.slowest_s, took)
    outcome.wrong += [(number, what) for what in watch.seen]
    if took > LONGEST_S:
        outcome.wrong.append((number, f"took {took:.1f} s of processor time"))
    if _peak_bytes() > _seen_peak[0]:
        _seen_peak[0] = _peak_bytes()
        outcome.largest_bytes = max(outcome.largest_bytes, grown)
        if grown > LARGEST_BYTES:
            outcome.wrong.append((number, f"took {grown / 1e6:.0f} MB"))


_seen_peak = [0]
"""The largest size of this process so far; an input that stays below it can't have taken more than the one before."""


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def input_of(target: Target, name: str, seed: int, number: int) -> bytes:
    """The input of a number, the same in every run."""
    return target.mutate(target.seed, random.Random(f"{seed} {name} {number}"))


def fuzz(found: Target, name: str, folder: Path, seed: int, numbers: range, progress: Callable[[int], None]) -> Outcome:
    """Run a range of inputs of one target in this process."""
    watch, outcome = Watch(folder), Outcome()
    with suppress(LeanmarkError):  # whatever is imported late, is imported now
        found.run(found.seed)
    _seen_peak[0] = _peak_bytes()
    for number in numbers:
        progress(number)
        run_one(found, input_of(found, name, seed, number), watch, outcome, number)
    return outcome


def worker(name: str, seed: int, numbers: range, result: Path) -> None:
    """Run a range of inputs and write down what came of them, with the number at hand in case of a crash."""
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
    with tempfile.TemporaryDirectory() as folder, own_folders(Path(folder)):
        found = targets(Path(folder))[name]
        at = result.with_suffix(".at")
        outcome = fuzz(found, name, Path(folder), seed, numbers, lambda number: at.write_text(str(number)) and None)
        result.write_text(json.dumps(asdict(outcome)))


def in_processes(name: str, seed: int, count: int, folder: Path) -> Outcome:
    """Run a target in processes of its own; one that crashes is noted, and the next goes on behind its input."""
    total, first = Outcome(), 0
    while first < count:
        result = folder / f"{name.replace(' ', '-')}-{first}.json"
        command = [sys.executable, __file__, "--worker", name, "--seed", str(seed), "--range", f"{first}:{count}"]
        done = subprocess.run([*command, "--result", str(result)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            values = json.loads(result.read_text())
            values["wrong"] = [(number, what) for number, what in values["wrong"]]
            total.add(Outcome(**values))
            return total
        at = result.with_suffix(".at")
        stopped = int(at.read_text()) if at.exists() else count
        what = f"the process ended with {done.returncode}: {done.stderr.strip()[-600:]}"
        total.add(Outcome(tried=stopped + 1 - first, wrong=[(stopped, what)]))
        first = stopped + 1
    return total


def guided(name: str, seed: int, count: int) -> tuple[int, str | None]:
    """Let atheris look for new paths through the code; gives how many inputs it ran and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).with_name("guided.py")), name, folder, f"-runs={count}"]
        done = subprocess.run([*command, f"-seed={seed + 1}"], capture_output=True, text=True, check=False)
    steps = [int(found[1]) for line in done.stderr.splitlines() if (found := re.match(r"#(\d+)\t", line))]
    number = max(steps, default=0)
    return number, None if done.returncode == 0 else (done.stdout.strip() or done.stderr)[-3000:]


def report(name: str, outcome: Outcome) -> None:
    """Print a row, and what went wrong, each kind once."""
    refused = ", ".join(f"{kind} {number}" for kind, number in sorted(outcome.refused.items()))
    print(
        f"{name:28} {outcome.tried:8} {outcome.accepted:8} {len(outcome.wrong):6} {outcome.slowest_s:8.2f} s "
        f"{outcome.largest_bytes / 1e6:7.0f} MB  {refused}"
    )
    kinds: dict[str, tuple[int, str]] = {}
    for number, what in outcome.wrong:
        kinds.setdefault(what.strip().splitlines()[-1][:60], (number, what))
    for number, what in kinds.values():
        print(f"  WRONG --only '{name}:{number}'\n    " + what.strip().replace("\n", "\n    "))
    sys.stdout.flush()


def main() -> int:
    """Feed every reader, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", type=float, default=0.5, help="share of the inputs that atheris makes")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--only", metavar="TARGET:NUMBER", help="run one input here, with its traceback")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--range", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        first, _, last = arguments.range.partition(":")
        worker(arguments.worker, arguments.seed, range(int(first), int(last)), arguments.result)
        return 0
    with tempfile.TemporaryDirectory() as name, own_folders(Path(name)):
        found = targets(Path(name))
        if arguments.only:
            target, _, number = arguments.only.rpartition(":")
            found[target].run(input_of(found[target], target, arguments.seed, int(number)))
            return 0
        wanted = {target: found[target].cost for target in found if arguments.target in (None, target)}
        return _all(wanted, arguments.count, arguments.seed, arguments.guided, Path(name))


def _all(wanted: dict[str, int], count: int, seed: int, share: float, folder: Path) -> int:
    print(f"{'reader':28} {'tried':>8} {'accepted':>8} {'wrong':>6} {'slowest':>10} {'memory':>10}  typed errors")
    total, each = Outcome(), count / sum(wanted.values())
    for target, cost in wanted.items():
        outcome = in_processes(target, seed, round(each * cost * (1 - share)), folder)
        report(target, outcome)
        total.add(outcome)
    for target, cost in wanted.items() if share else ():
        ran, what = guided(target, seed, round(each * cost * share))
        outcome = Outcome(tried=ran, wrong=[] if what is None else [(-1, what)])
        report(f"{target}, guided", outcome)
        total.add(outcome)
    report("all", Outcome(total.tried, total.accepted, total.refused, [], total.slowest_s, total.largest_bytes))
    print(f"wrong in all: {len(total.wrong)}")
    return int(bool(total.wrong))


if __name__ == "__main__":
    sys.exit(main())
