"""Block log-ratios as noisy machines give them, many experiments at once, and how often intervals hold the truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from certify.assessments.efficiency.edition import Edition
from certify.core.statistics.batch_means import Series, half_widths
from certify.core.statistics.blocks import blocks_needed

EXPERIMENTS = 3000
TRUTH = math.log(0.3)
WINDOW = 0.02
"""Standard deviation of the logarithm of one window."""
LONGEST = 60
"""Blocks that the time limit has room for."""

Draw = Callable[[np.random.Generator, int, int], Series]


def _ratios(rng: np.random.Generator, common: Series) -> Series:
    """Log-ratios (experiments, blocks) of windows with noise of their own and what both arms share at a time."""
    pattern = np.array([1.0, -1.0, -1.0, 1.0])  # +1 where the baseline runs in ABBA
    signs = rng.choice((1.0, -1.0), size=common.shape[:2])[..., None] * pattern
    logs = common + WINDOW * rng.standard_normal(common.shape) + np.where(signs < 0, TRUTH, 0.0)
    return np.asarray(-np.sum(logs * signs, axis=2) / 2)


def _white(rng: np.random.Generator, experiments: int, blocks: int) -> Series:
    return _ratios(rng, np.zeros((experiments, blocks, 4)))


def _drifting(rng: np.random.Generator, experiments: int, blocks: int) -> Series:
    """The machine warms up by 10 %, fast at first, while its speed wanders at random."""
    time = np.arange(4.0 * blocks)
    slope = rng.uniform(-0.002, 0.004, (experiments, 1)) * time
    warm = 0.1 * (1 - np.exp(-time / rng.uniform(5, 40, (experiments, 1))))
    walk = np.cumsum(0.01 * rng.standard_normal((experiments, 4 * blocks)), axis=1)
    return _ratios(rng, (slope + warm + walk).reshape(experiments, blocks, 4))


def _stepped(rng: np.random.Generator, experiments: int, blocks: int) -> Series:
    """A neighbour comes and goes, and costs 20 % while it is there."""
    switches = rng.random((experiments, 4 * blocks)) < 0.15
    there = (np.cumsum(switches, axis=1) + rng.integers(2, size=(experiments, 1))) % 2
    return _ratios(rng, 0.2 * there.reshape(experiments, blocks, 4))


def _autocorrelated(phi: float) -> Draw:
    def draw(rng: np.random.Generator, experiments: int, blocks: int) -> Series:
        noise = rng.standard_normal((experiments, blocks))
        for i in range(1, blocks):
            noise[:, i] = phi * noise[:, i - 1] + math.sqrt(1 - phi**2) * noise[:, i]
        return np.asarray(TRUTH + WINDOW * noise)

    return draw


KINDS: dict[str, Draw] = {
    "white": _white,
    "drifting": _drifting,
    "stepped by a neighbour": _stepped,
    "autocorrelated 0.2": _autocorrelated(0.2),
    "autocorrelated 0.35": _autocorrelated(0.35),
    "autocorrelated 0.5": _autocorrelated(0.5),
}


@dataclass(frozen=True)
class Coverage:
    """How the interval did on one kind of noise.

    Attributes:
        covered: share of the experiments whose interval holds the truth.
        width: mean half-width over the ideal one, the normal interval of somebody who knows the true spread of the
            mean of as many blocks.
        blocks: mean number of blocks.
        lengths: how many different numbers of blocks there were.
    """

    covered: float
    width: float
    blocks: float
    lengths: int


def fixed(kind: str, blocks: int, edition: Edition, experiments: int = EXPERIMENTS) -> Coverage:
    """Experiments whose number of blocks was fixed without looking, as in a null run."""
    draws = KINDS[kind](np.random.default_rng(blocks), experiments, blocks)
    return _judge(draws, np.full(experiments, blocks), edition, None)


def from_pilot(kind: str, tightness: float, edition: Edition, experiments: int = EXPERIMENTS) -> Coverage:
    """Experiments whose number of blocks the pilot fixed (Stein), as in the main run.

    Args:
        kind: of noise.
        tightness: wanted half-width, as a multiple of the mean one that the pilot alone would give.
        edition: gives the rules.
        experiments: how many.
    """
    draws = KINDS[kind](np.random.default_rng(1), experiments, LONGEST)
    pilot = edition.plan.pilot_blocks
    wanted = tightness * float(np.mean(half_widths(draws[:, :pilot], edition.plan)))
    least = edition.plan.minimum_blocks
    taken = np.array([blocks_needed(row[:pilot], wanted, least, LONGEST, edition.plan) for row in draws])
    return _judge(draws, taken, edition, pilot)


def _judge(draws: Series, taken: np.ndarray, edition: Edition, pilot: int | None) -> Coverage:
    covered, ratios = [], []
    for n in np.unique(taken).tolist():
        rows = draws[taken == n, :n]
        widths = half_widths(rows, edition.plan, pilot)
        covered.append(np.abs(rows.mean(axis=1) - TRUTH) <= widths)
        ratios.append(widths / (1.96 * np.std(draws[:, :n].mean(axis=1))))
    return Coverage(
        float(np.mean(np.concatenate(covered))),
        float(np.mean(np.concatenate(ratios))),
        float(np.mean(taken)),
        len(np.unique(taken)),
    )
