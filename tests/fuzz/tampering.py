"""Tampering with a graded model and its sidecar files: attacks tried, found (by which check), and missed.

Run ``python tests/fuzz/tampering.py --count 10000 --seed 0``; the exit status is 1 if anything was missed, was found by
a different check than expected, or if an untouched file raised an alarm. ``count`` is the number of random single-byte
changes in each file; every other attack is tried a hundredth as often, at least once. ``--resume FILE`` resumes a
stopped run, and ``--report`` prints the content of the file. A stopped run prints what it has tried.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from attacks import Attacks
from graded import own_folders
from honest import false_alarms
from results import Results
from tally import report, totals

HONEST = "untouched, saved again or changed openly"


def main() -> int:
    """Attack, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="single-byte changes in each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", type=Path, metavar="FILE", help="resume the stopped run that wrote FILE")
    parser.add_argument("--report", action="store_true", help="only print what the file of --resume holds")
    arguments = parser.parse_args()
    results = Results(arguments.resume, {"count": arguments.count, "seed": arguments.seed})
    if arguments.report:
        return int(report(totals(results.parts.values())) > 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stopped = False
    with tempfile.TemporaryDirectory() as name, own_folders(Path(name)):
        try:
            Attacks(Path(name) / "attacks", arguments.count, arguments.seed).run(results)
            if HONEST not in results.parts:
                tally = false_alarms(Path(name) / "honest", max(1, arguments.count // 200))
                results.add(HONEST, {HONEST: tally.to_json()})
        except KeyboardInterrupt:
            stopped = True
    wrong = report(totals(results.parts.values()))
    if stopped:
        print("stopped; the part at hand is not in the table")
    return 130 if stopped else int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
