"""Lower bounds on epsilon from one training with canaries (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846)."""

from __future__ import annotations

import math

import numpy as np

from certify.core.errors import UsageError

LARGEST_EPSILON = 64.0
PRECISION = 1e-9
ROUNDING = 1e-9
"""Relative difference of two epsilons that is only rounding."""


def guesses_p(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Bound the probability of at least this many right guesses under a claim (theorem 5.2).

    A fair coin per canary decides which of m canaries are in the training set; afterwards r of the coins are guessed.
    Under (epsilon, delta)-differential privacy the number of right guesses W satisfies

        P[W >= v] <= P[B >= v] + 2 m delta * max over i = 1..m of P[v > B >= v - i] / i

    where B is binomial of r trials with probability e^epsilon / (1 + e^epsilon).

    Args:
        canaries: m.
        guesses: r, fixed in advance, at most m.
        right: v, at most r.
        epsilon: epsilon of the claim, at least 0.
        delta: delta of the claim, 0 to 1.

    Returns:
        A bound on the p-value of the claim, at most 1.

    Raises:
        UsageError: a number is out of range.

    Example:
        >>> round(guesses_p(10, 10, 10, 0.0, 0.0), 6)
        0.000977
    """
    from scipy.stats import binom  # takes 0.5 s, which most commands do not need

    if not 0 <= right <= guesses <= canaries or guesses < 1:
        raise UsageError(f"Of {canaries} canaries {guesses} were guessed, {right} of them right; this is impossible.")
    if epsilon < 0 or not 0 <= delta < 1:
        raise UsageError(f"The 'epsilon' must be at least 0 and 'delta' in [0, 1), got {epsilon:g} and {delta:g}.")
    chance = 1 / (1 + math.exp(-epsilon))
    # sf(v - 1) is P[B >= v]; 1 - cdf would lose all digits of a small tail.
    tail = float(binom.sf(right - 1, guesses, chance))
    if delta == 0 or right == 0:
        return min(1.0, tail)
    below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, chance))
    # Beyond i = v the probability stops growing while i increases, so the largest quotient is before that.
    steepest = float(np.max(below / np.arange(1, right + 1)))
    return min(1.0, tail + 2 * canaries * delta * steepest)


def epsilon_shown(canaries: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """Return the largest epsilon that the guesses refute, by bisection; 0 if they refute none.

    Args:
        canaries: number of canaries, each in or out by a coin.
        guesses: number of guesses, fixed before the training.
        right: number of right guesses.
        delta: delta of the claim.
        confidence: one-sided confidence, such as 0.95.

    Raises:
        UsageError: a number is out of range.

    Example:
        >>> round(epsilon_shown(1000, 1000, 1000, 1e-5, 0.95), 2), epsilon_shown(1000, 200, 100, 1e-5, 0.95)
        (5.78, 0.0)
    """
    if not 0 < confidence < 1:
        raise UsageError(f"The confidence must be between 0 and 1, got {confidence:g}.")
    level = 1 - confidence
    if guesses_p(canaries, guesses, right, 0.0, delta) > level:
        return 0.0
    # Beyond 64 the chance of a right guess rounds to 1, so nothing can be shown.
    low, high = 0.0, LARGEST_EPSILON
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if guesses_p(canaries, guesses, right, middle, delta) <= level else (low, middle)
    return low


def epsilon_showable(canaries: int, guesses: int, delta: float, confidence: float) -> float:
    """Return the epsilon that the same audit shows if every guess is right, which is the most that it can show.

    Example:
        >>> round(epsilon_showable(1000, 100, 1e-5, 0.95), 2)
        3.47
    """
    return epsilon_shown(canaries, guesses, guesses, delta, confidence)


def refutation(bound: float, claimed: float) -> str:
    """Return the sentence about a claimed epsilon that canaries refute.

    Example:
        >>> refutation(2.94, 1.0)
        'Canaries show epsilon of at least 2.94, and the privacy statement claims 1.'
    """
    return f"Canaries show epsilon of at least {bound:.3g}, and the privacy statement claims {claimed:g}."


def refutes_claim(bound: float, bound_delta: float, claimed: float, delta: float) -> bool:
    """Return whether a lower bound on epsilon refutes a claimed epsilon.

    A claim for one delta also holds for every larger delta, but cannot be compared for a smaller one.

    Args:
        bound: lower bound on epsilon.
        bound_delta: delta for which it holds.
        claimed: claimed epsilon.
        delta: delta of the claim.

    Example:
        >>> refutes_claim(2.9, 1e-5, 1.0, 1e-5), refutes_claim(2.9, 1e-6, 1.0, 1e-5)
        (True, False)
    """
    return bound_delta >= delta and bound > claimed * (1 + ROUNDING)
