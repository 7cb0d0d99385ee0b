"""Fuzzing with hostile input, which must result in a typed error or an answer, within limits of time and memory.

Run ``python tests/fuzz/hostile.py --count 100000 --seed 0``; the exit status is 1 if an input raised an error other
than LeanmarkError, took more than 2 s of CPU time or 500 MB, crashed the process, opened a file outside its folder, ran
a command, unpickled something, or put a script into a drawing. Half of the inputs are mutations of valid ones, half
come from atheris, which is guided by code coverage (``--guided 0`` disables it). ``--only TARGET:NUMBER`` runs one
input again. ``--resume FILE`` resumes a stopped run, and ``--report`` prints the content of the file. A stopped run
prints what it has tried.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from graded import own_folders
from results import Results
from targets import Target, targets

from certify.core.errors import LeanmarkError

LONGEST_S = 2.0
LARGEST_BYTES = 500_000_000
HANGING_S = 20
"""After this processor time the process is ended, as no Python code may run in a library that does not come back. Other
clocks go on while somebody has halted the run."""
PART = 500
"""Mutations of one target between two lines of the file of results."""
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

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Outcome:
        """The same again, from its JSON object."""
        return cls(**{**values, "wrong": [(number, what) for number, what in values["wrong"]]})


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
    before, highest, began = resident_bytes(), peak_bytes(), time.process_time()
    watch.on = True
    signal.setitimer(signal.ITIMER_PROF, HANGING_S)
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
        signal.setitimer(signal.ITIMER_PROF, 0)
    took, grown = time.process_time() - began, peak_bytes() - before
    outcome.slowest_s = max(outcome.slowest_s, took)
    outcome.wrong += [(number, what) for what in watch.seen]
    if took > LONGEST_S:
        outcome.wrong.append((number, f"took {took:.1f} s of processor time"))
    if peak_bytes() > highest:  # below its earlier peak, the process cannot have grown by this input alone
        outcome.largest_bytes = max(outcome.largest_bytes, grown)
        if grown > LARGEST_BYTES:
            outcome.wrong.append((number, f"took {grown / 1e6:.0f} MB"))


def resident_bytes() -> int:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """The most that it ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def input_of(target: Target, name: str, seed: int, number: int) -> bytes:
    """The input of a number, the same in every run."""
    return target.mutate(target.seed, random.Random(f"{seed} {name} {number}"))


def fuzz(found: Target, name: str, folder: Path, seed: int, numbers: range, progress: Callable[[int], None]) -> Outcome:
    """Run a range of inputs of one target in this process."""
    watch, outcome = Watch(folder), Outcome()
    with suppress(LeanmarkError):  # whatever is imported late, is imported now
        found.run(found.seed)
    gc.freeze()  # what is there already is not looked through again for each input
    for number in numbers:
        progress(number)
        run_one(found, input_of(found, name, seed, number), watch, outcome, number)
    return outcome


def worker(name: str, seed: int, numbers: range, result: Path) -> None:
    """Run a range of inputs and write down what came of them, with the number at hand in case of a crash."""
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
    faulthandler.register(signal.SIGPROF, chain=True)  # says where it hangs, then ends
    with tempfile.TemporaryDirectory() as folder, own_folders(Path(folder)):
        found = targets(Path(folder))[name]
        at = result.with_suffix(".at")
        outcome = fuzz(found, name, Path(folder), seed, numbers, lambda number: at.write_text(str(number)) and None)
        result.write_text(json.dumps(asdict(outcome)))


def in_processes(name: str, seed: int, numbers: range, folder: Path) -> Outcome:
    """Run a target in separate processes; a crash is recorded, and the next process continues after its input."""
    total, first, end = Outcome(), numbers.start, numbers.stop
    while first < end:
        result = folder / f"{name.replace(' ', '-')}-{first}.json"
        command = [sys.executable, __file__, "--worker", name, "--seed", str(seed), "--range", f"{first}:{end}"]
        done = subprocess.run([*command, "--result", str(result)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            total.add(Outcome.from_json(json.loads(result.read_text())))
            return total
        at = result.with_suffix(".at")
        stopped = int(at.read_text()) if at.exists() else end
        what = f"the process ended with {done.returncode}: {done.stderr.strip()[-600:]}"
        total.add(Outcome(tried=stopped + 1 - first, wrong=[(stopped, what)]))
        first = stopped + 1
    return total


def guided(name: str, seed: int, count: int) -> Outcome:
    """Let atheris look for new paths through the code."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).with_name("guided.py")), name, folder, f"-runs={count}"]
        done = subprocess.run([*command, f"-seed={seed + 1}"], capture_output=True, text=True, check=False)
    steps = [int(found[1]) for line in done.stderr.splitlines() if (found := re.match(r"#(\d+)\t", line))]
    wrong = [] if done.returncode == 0 else [(-1, done.stdout.strip()[:3000] or done.stderr[-3000:])]
    return Outcome(tried=max(steps, default=0), wrong=wrong)


def report(name: str, outcome: Outcome) -> None:
    """Print a row, and what went wrong, each kind once; of guided inputs it is not known how many were accepted."""
    accepted = "-" if name.endswith("guided") else outcome.accepted
    refused = ", ".join(f"{kind} {number}" for kind, number in sorted(outcome.refused.items()))
    print(
        f"{name:33} {outcome.tried:8} {accepted:>8} {len(outcome.wrong):6} {outcome.slowest_s:8.2f} s "
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
    parser.add_argument("--resume", type=Path, metavar="FILE", help="resume the stopped run that wrote FILE")
    parser.add_argument("--report", action="store_true", help="only print what the file of --resume holds")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--range", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        first, _, last = arguments.range.partition(":")
        worker(arguments.worker, arguments.seed, range(int(first), int(last)), arguments.result)
        return 0
    settings = {name: getattr(arguments, name) for name in ("count", "seed", "guided", "target")}
    results, stopped = Results(arguments.resume, settings), False
    if arguments.report:
        return int(report_all(results) > 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name, own_folders(Path(name)):
        found = targets(Path(name))
        if arguments.only:
            target, _, number = arguments.only.rpartition(":")
            found[target].run(input_of(found[target], target, arguments.seed, int(number)))
            return 0
        costs = {target: found[target].cost for target in found if arguments.target in (None, target)}
        try:
            run(costs, arguments.count, arguments.seed, arguments.guided, Path(name), results)
        except KeyboardInterrupt:
            stopped = True
    wrong = report_all(results)
    if stopped:
        print("stopped; the part at hand is not in the table")
    return 130 if stopped else int(wrong > 0)


def run(costs: dict[str, int], count: int, seed: int, share: float, folder: Path, results: Results) -> None:
    """Feed every reader, with all parts of which no results are there yet."""
    each = count / sum(costs.values())
    for target, cost in costs.items():
        end = round(each * cost * (1 - share))
        for first in range(0, end, PART):
            if (part := f"{target}: {first}") not in results.parts:
                results.add(part, asdict(in_processes(target, seed, range(first, min(first + PART, end)), folder)))
    for target, cost in costs.items() if share else ():
        if (part := f"{target}, guided: 0") not in results.parts:
            results.add(part, asdict(guided(target, seed, round(each * cost * share))))


def report_all(results: Results) -> int:
    """Print a table of all parts that are done; gives how much is wrong."""
    rows: dict[str, Outcome] = {}
    for part, values in results.parts.items():
        rows.setdefault(part.rpartition(": ")[0], Outcome()).add(Outcome.from_json(values))
    print(f"{'reader':33} {'tried':>8} {'accepted':>8} {'wrong':>6} {'slowest':>10} {'memory':>10}  typed errors")
    total = Outcome()
    for name, outcome in rows.items():
        report(name, outcome)
        total.add(outcome)
    report("all", replace(total, wrong=[]))
    print(f"wrong in all: {len(total.wrong)}")
    return len(total.wrong)


if __name__ == "__main__":
    sys.exit(main())
