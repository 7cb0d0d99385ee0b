"""CPU overhead of measuring a window of the yardstick ResNet-50, and cost of starting a worker.

Run ``python tests/benchmarks/overhead.py [--windows 20] [--quick]``; it prints shares and seconds and is not a test.
Overhead is the CPU time of the measuring process around a window (reading counters and meter, recording), and of the
worker beyond the inferences themselves.
"""

from __future__ import annotations

import contextlib
import time

from _bench import options, run
from null_runs import yardstick_subject

from certify.assessments.efficiency.edition import load_edition
from certify.measure import meters, runs
from certify.measure.experiment import open_bench
from certify.measure.host import process_cpu_s
from certify.measure.plan import Plan


def main() -> None:
    """Print what is added, by length of the window."""
    parser = options(__doc__, "a few short windows")
    parser.add_argument("--windows", type=int, default=20)
    given = parser.parse_args()
    lengths = (0.2,) if given.quick else (0.5, 1.0)
    count = 3 if given.quick else given.windows
    for window_s in lengths:
        plan = Plan(window_s=window_s, threads=1)
        with open_bench(plan, load_edition().plan, meters.choose("cpu"), None) as bench, contextlib.ExitStack() as live:
            arm = runs.choose_threads(bench, yardstick_subject(bench))
            began_s = time.monotonic()
            running = arm.start(live)
            started_s = time.monotonic() - began_s
            own_s, worker_s, inside_s = time.process_time(), process_cpu_s(running.worker.pid), 0.0
            for number in range(count):
                inside_s += bench.recorder.record(running, (), "main", 0, number, 0).cpu_s
            own_s, after_s = time.process_time() - own_s, process_cpu_s(running.worker.pid)
        if worker_s is None or after_s is None:
            print("The CPU time of the worker cannot be read here.")
            return
        beside_s = after_s - worker_s - inside_s
        print(
            f"{count} windows of {window_s:g} s, {inside_s / count:.3f} CPU-seconds each: measuring adds "
            f"{100 * (own_s + beside_s) / inside_s:.2f} % ({1e3 * own_s / count:.2f} ms in the measuring process, "
            f"{1e3 * beside_s / count:.2f} ms in the worker); starting and warming a worker took {started_s:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    run(main)
