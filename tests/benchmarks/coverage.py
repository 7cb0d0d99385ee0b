"""Coverage and width of the interval of the energy ratio, by kind of noise.

Run ``python tests/benchmarks/coverage.py [--quick]``; it prints a table and is not a test (the bounds are in
tests/certify/efficiency). Half-widths are multiples of the ideal one, which is based on the true spread of the mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "certify" / "efficiency"))

import noise
from _bench import options, run

from certify.assessments.efficiency.edition import load_edition

EXPERIMENTS = 20_000
BLOCKS = (10, 14, 20, 30, 60)
TIGHTNESS = (0.4, 0.6, 0.8, 1.2)


def main() -> None:
    """Print a row a kind of noise and number of blocks, as Markdown."""
    experiments = 500 if options(__doc__, "500 experiments a row").parse_args().quick else EXPERIMENTS
    edition = load_edition()
    print(f"{experiments:,} experiments a row, nominal {edition.plan.confidence:.0%}, edition {edition.name}\n")
    print("| noise | blocks | covered | half-width / ideal |\n|---|---|---|---|")
    for kind in noise.KINDS:
        for blocks in BLOCKS:
            row(kind, f"{blocks}", noise.fixed(kind, blocks, edition, experiments))
        for tightness in TIGHTNESS:
            found = noise.from_pilot(kind, tightness, edition, experiments)
            row(kind, f"{found.blocks:.0f} in the mean, from a pilot (wanted {tightness} of its own width)", found)


def row(kind: str, blocks: str, found: noise.Coverage) -> None:
    """One row of the table."""
    print(f"| {kind} | {blocks} | {found.covered:.1%} | {found.width:.2f} |")


if __name__ == "__main__":
    run(main)
