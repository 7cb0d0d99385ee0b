"""Coverage of the intervals of the social assessment, in simulated groups.

    python tests/benchmarks/social_coverage.py [--experiments 4000] [--seed 0] [--quick] [--strict]

It prints the share of experiments in which (a) the intervals of all six cells of 20 to 400 samples contain their true
change simultaneously, with and without Bonferroni, and (b) the interval of the change of an absolute gap contains the
truth, for gaps at, near and far from zero, with increasing losses of one group. An experiment is a draw of paired
tables; nothing is measured, so the load of the machine does not matter.
"""

from __future__ import annotations

import numpy as np
from _bench import Bars, options, run

from certify.core.statistics.gaps import absolute_gap_change, gap_change
from certify.core.statistics.multiple import simultaneous
from certify.core.statistics.proportions import PairedTable, difference_interval

SIZES = (20, 50, 100, 150, 250, 400)
CELLS = {
    "few answers turn": (0.78, 0.01, 0.02, 0.19),
    "many answers turn": (0.60, 0.08, 0.12, 0.20),
    "rare errors": (0.94, 0.01, 0.02, 0.03),
}
"""Shares of both, only candidate, only baseline and neither."""
GAPS = (0.0, 0.005, 0.02, 0.05, 0.15)
WIDENS = (0.0, 0.01, 0.08)
"""By how much the group that is behind loses more than the other."""
LOST, WON = 0.03, 0.02
"""Shares of answers that both groups lose and win."""


def cells(experiments: int, rng: np.random.Generator, bars: Bars) -> None:
    """Six cells at once."""
    print(f"{'six cells of 20 to 400':40} {'Bonferroni':>12} {'plain 95 %':>12}")
    for name, shares in CELLS.items():
        truth, held = shares[1] - shares[2], [0, 0]
        for _ in range(experiments):
            tables = [PairedTable(*rng.multinomial(n, shares).tolist()) for n in SIZES]
            for place, confidence in enumerate((simultaneous(0.95, len(SIZES)), 0.95)):
                ends = (difference_interval(table, confidence) for table in tables)
                held[place] += all(one.low <= truth <= one.high for one in ends)
        print(f"{name:40} {held[0] / experiments:12.2%} {held[1] / experiments:12.2%}", flush=True)
        bars.at_least("simultaneous coverage", 100 * held[0] / experiments, 95, " %")


def gaps(experiments: int, rng: np.random.Generator, bars: Bars) -> None:
    """Change of the gap between a group of 400 and one of 150."""
    print(f"\n{'gap before, and by how much it widens':40} {'absolute':>12} {'signed':>12}")
    for widens in WIDENS:
        for before in GAPS:
            one = (0.7 - LOST, WON, LOST, 0.3 - WON)
            other = (0.7 - before - LOST - widens, WON, LOST + widens, 0.3 + before - WON)
            held = [0, 0]
            for _ in range(experiments):
                first, second = (
                    PairedTable(*rng.multinomial(n, shares).tolist()) for n, shares in ((400, one), (150, other))
                )
                for place, function in enumerate((absolute_gap_change, gap_change)):
                    found = function(first, second, 0.95)
                    held[place] += found.low <= widens <= found.high
            row = f"{100 * before:.1f} points, {100 * widens:.0f}"
            print(f"{row:40} {held[0] / experiments:12.2%} {held[1] / experiments:12.2%}", flush=True)
            bars.within("coverage of the absolute gap's change", 100 * held[0] / experiments, 93, 99, " %")


def main() -> int:
    """Print the tables."""
    parser = options(__doc__, "200 experiments")
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    experiments = 200 if given.quick else given.experiments
    bars, rng = Bars(experiments >= 4000), np.random.default_rng(given.seed)
    cells(experiments, rng, bars)
    gaps(experiments, rng, bars)
    return bars.code(given.strict)


if __name__ == "__main__":
    run(main)
