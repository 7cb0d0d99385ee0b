"""Repeated null runs of the yardstick ResNet-50 against itself, and how often the interval includes 1.

Run ``python tests/benchmarks/null_runs.py [--runs 20] [--load 0.25] [--quick]``; it prints a Markdown table and is not
a test. ``--load`` runs another process during the windows, in bursts, for that share of one processor. A run takes
about a minute and a half.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from _bench import options, run

from certify.assessments.efficiency.edition import load_edition
from certify.core.windows import Window
from certify.data.images import ImagePreprocess
from certify.measure import meters, runs, yardstick
from certify.measure.experiment import open_bench
from certify.measure.model_under_test import Subject, subject
from certify.measure.plan import Plan

CONTRACT = ImagePreprocess(
    input_name=yardstick.INPUT_NAME, output_name=yardstick.OUTPUT_NAME, height=yardstick.SIDE, width=yardstick.SIDE,
    layout="NCHW", colour="RGB", scale=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize="exact", crop="none",
    interpolation="bilinear", reading="logits",
)  # fmt: skip
NEIGHBOUR = """
import random, sys, time
share, random = float(sys.argv[1]), random.Random(0)
while True:
    length = random.expovariate(2.0)
    end = time.perf_counter() + length
    while time.perf_counter() < end:
        pass
    time.sleep(length * (1 - share) / share)
"""
QUICK = {"window_s": 0.1, "min_blocks": 3, "time_limit_s": 6.0}


def yardstick_subject(bench: runs.Bench, arm: str = "baseline") -> Subject:
    """The yardstick with its own images, as one side of a run."""
    one = subject(arm, yardstick.yardstick_file(), CONTRACT, 1, bench.folder)
    np.save(one.inputs, yardstick.images())
    return one


@contextlib.contextmanager
def neighbour(share: float) -> Iterator[None]:
    """Another process that uses a share of one processor, in bursts of about half a second."""
    if not share:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(share)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def share_of(windows: Iterable[Window], name: str) -> str:
    """Mean of a share that was read beside each window, in percent."""
    values = [value for window in windows if (value := window.host.get(name)) is not None]
    return f"{100 * math.fsum(values) / len(values):.1f} %" if values else "unknown"


def main() -> None:
    """Print a row a run, and the count."""
    parser = options(__doc__, "two short runs")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--load", type=float, default=0.25, help="share of one processor that a neighbour uses")
    given = parser.parse_args()
    edition = load_edition()
    plan = replace(Plan(), **QUICK) if given.quick else Plan()
    count = 2 if given.quick else given.runs
    print(f"{len(os.sched_getaffinity(0))} processors, a neighbour on {given.load:.0%} of one\n")
    print("| run | ratio | 95 % interval | includes 1 | within 5 % | others used | steal |")
    print("|---|---|---|---|---|---|---|")
    included = 0
    with neighbour(given.load), open_bench(plan, edition.plan, meters.choose("cpu"), None) as bench:
        arm = runs.choose_threads(bench, yardstick_subject(bench))
        blocks = bench.blocks_a_start((arm, arm))
        for attempt in range(count):
            ratio = runs.against(bench, "null", (arm, replace(arm, name=runs.AGAIN)), blocks, "Null run", attempt)
            windows = [window for window in bench.recorder.run("null").windows if window.attempt == attempt]
            if ratio is None:
                print(f"| {attempt + 1} | no energy | | | | | |")
                continue
            holds = ratio.low <= 1 <= ratio.high
            within = 1 - edition.plan.null_tolerance <= ratio.low and ratio.high <= 1 + edition.plan.null_tolerance
            included += holds
            print(
                f"| {attempt + 1} | {ratio.value:.4f} | {ratio.low:.4f} to {ratio.high:.4f} | "
                f"{'yes' if holds else 'no'} | {'yes' if within else 'no'} | "
                f"{share_of(windows, 'foreign_cpu_share')} | {share_of(windows, 'steal_share')} |",
                flush=True,
            )
    print(f"\n{included} of {count} intervals include 1; new processes every {blocks} block(s).")


if __name__ == "__main__":
    run(main)
