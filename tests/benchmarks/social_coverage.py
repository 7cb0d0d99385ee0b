"""How often the intervals of the social assessment hold the truth, in simulated groups.

    python tests/benchmarks/social_coverage.py [--experiments 4000] [--seed 0]

Prints the share of experiments in which (a) all six cells of 20 to 400 samples hold their true change at once, with
Bonferroni and without, and (b) the interval of the change of an absolute gap holds the truth, for gaps at, near and far
from zero. An experiment is a draw of paired tables; nothing is measured, so that the load of the machine does not matter.
"""

from __future__ import annotations

import argparse

import numpy as np

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
TURNING = {"few answers turn": (0.02, 0.01), "many answers turn": (0.10, 0.05)}
"""Shares of answers that one group loses and wins; the other group loses a hundredth more."""


def cells(experiments: int, rng: np.random.Generator) -> None:
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


def gaps(experiments: int, rng: np.random.Generator) -> None:
    """Change of the gap between a group of 400 and one of 150."""
    print(f"\n{'gap before':40} {'absolute':>12} {'signed':>12}")
    for name, (lost, won) in TURNING.items():
        for before in GAPS:
            one = (0.7 - lost, won, lost, 0.3 - won)
            other = (0.7 - before - lost - 0.01, won, lost + 0.01, 0.3 + before - won)
            after = one[0] + one[1] - other[0] - other[1]
            truth, held = (abs(after) - before, after - before), [0, 0]
            for _ in range(experiments):
                first, second = (
                    PairedTable(*rng.multinomial(n, shares).tolist()) for n, shares in ((400, one), (150, other))
                )
                for place, function in enumerate((absolute_gap_change, gap_change)):
                    found = function(first, second, 0.95)
                    held[place] += found.low <= truth[place] <= found.high
            row = f"{100 * before:.1f} points, {name}"
            print(f"{row:40} {held[0] / experiments:12.2%} {held[1] / experiments:12.2%}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cells(options.experiments, rng)
    gaps(options.experiments, rng)


if __name__ == "__main__":
    main()
