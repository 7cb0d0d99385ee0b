"""Aggregation of a round's answers into the next model: means, robust rules, and the server's optimizer.

Sums are taken over integers, or in float64 in the order of the clients' names, so that the result does not depend on
the order of arrival. Answers are read from disk one at a time; order statistics hold one slice of all answers at a
time. Memory therefore does not grow with the number of clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError
from compress.federated.forms import Form, Int8, clipped, norm
from compress.federated.weights import Vector

RuleName = Literal["mean", "median", "trimmed-mean", "norm-bound"]
ORDER_STATISTICS = ("median", "trimmed-mean")
SLICE_NUMBERS = 4_000_000
"""Maximum number of values, over all answers, that an order statistic holds at once: 32 MB."""
ADAM_FLOOR = 1e-3
"""The tau of Reddi et al. 2021, table 8."""

Read = Callable[[str], bytes]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """Rule that aggregates answers into one update.

    Attributes:
        name: ``mean``; ``median`` of each coordinate and ``trimmed-mean`` (Yin et al. 2018, arXiv 1803.01498);
            ``norm-bound`` (Sun et al. 2019, arXiv 1911.07963), the mean of updates scaled down to the median norm.
        trimmed: share of the answers excluded at each end; used by ``trimmed-mean``.

    Example:
        >>> Rule("trimmed-mean", 0.2).is_robust
        True
    """

    name: RuleName = "mean"
    trimmed: float = 0.2

    @property
    def is_robust(self) -> bool:
        """Whether the rule compares single answers, which must then be unmasked and of equal weight."""
        return self.name != "mean"

    def require_clear(self, masked: bool) -> None:
        """Refuse a robust rule for masked answers.

        Raises:
            UsageError: the answers are masked, and the rule compares single answers.
        """
        if masked and self.is_robust:
            raise UsageError(
                f"The rule {self.name} compares single answers, and masked answers reveal only their sum; use "
                "update: int8, or rule: mean with a clip on each update."
            )


@dataclass(frozen=True)
class Aggregate:
    """Aggregate of a round's answers.

    Attributes:
        update: aggregated update of the model, (count,).
        integers: sum of the integers and votes; None for other forms.
    """

    update: Vector
    integers: npt.NDArray[np.int64] | None = None

    def content(self) -> bytes:
        """Return the bytes whose digest the log states."""
        return self.update.astype("<f4").tobytes()


def aggregate(names: Sequence[str], weights: Sequence[float], read: Read, form: Form, rule: Rule) -> Aggregate:
    """Aggregate unmasked answers.

    Args:
        names: sorted names of the clients that answered, at least one.
        weights: weight of each client, by which it has already multiplied its update.
        read: function that returns a client's answer.
        form: form of the answers.
        rule: rule of aggregation.
    """
    if rule.name in ORDER_STATISTICS:
        return Aggregate(_order_statistic(names, read, form, rule))
    if rule.name == "norm-bound":
        # Use the median norm: fewer than half of the clients cannot move it out of the range of the others.
        bound = float(np.median([norm(form.decode(read(name))) for name in names]))
        return Aggregate(_mean(names, len(names), lambda name: clipped(form.decode(read(name)), bound)))
    if isinstance(form, Int8):
        total = np.zeros(form.count, dtype=np.int64)
        for name in names:
            total += form.read(read(name))
        return of_integers(total, sum(weights), form)
    return Aggregate(_mean(names, sum(weights), lambda name: form.decode(read(name))))


def of_integers(total: npt.NDArray[np.int64], weight: float, form: Int8) -> Aggregate:
    """Return the mean from a sum of integers; it is bit-identical with and without masks."""
    # The grid and the weights apply once to the exact sum, so masks and order cannot change a bit.
    exact = total[: sum(form.parts)] * form.steps()
    return Aggregate((exact / weight).astype(np.float32), total)


def _mean(names: Sequence[str], weight: float, decoded: Callable[[str], Vector]) -> Vector:
    total: Floats | None = None
    for name in names:
        update = decoded(name).astype(np.float64)
        total = update if total is None else total + update
    if total is None:
        raise ValueError("a mean needs an answer")
    mean: Vector = (total / weight).astype(np.float32)
    return mean


def _order_statistic(names: Sequence[str], read: Read, form: Form, rule: Rule) -> Vector:
    count = len(form.decode(read(names[0])))
    width = max(1, SLICE_NUMBERS // len(names))
    left_out = int(rule.trimmed * len(names))
    summed = np.empty(count, dtype=np.float32)
    for start in range(0, count, width):
        # Decode again for each slice, which takes time but avoids holding all answers in memory.
        rows = np.stack([form.decode(read(name))[start : start + width] for name in names]).astype(np.float64)
        if rule.name == "median":
            summed[start : start + width] = np.median(rows, axis=0)
        else:
            rows.sort(axis=0)
            summed[start : start + width] = rows[left_out : len(names) - left_out].mean(axis=0)
    return summed


@dataclass(frozen=True)
class ServerStep:
    """Server optimizer, applied to the mean update.

    FedAvg (McMahan et al. 2017, arXiv 1602.05629) adds it; momentum (Hsu et al. 2019, arXiv 1909.06335) and Adam
    (Reddi et al. 2021, arXiv 2003.00295) treat it as a gradient. Running statistics are not gradients, so the mean is
    added to them unchanged.

    Attributes:
        name: ``none``, ``momentum`` or ``adam``.
        lr: learning rate of the server.
        momentum: coefficient of momentum, or beta_1 of Adam.
        second: beta_2 of Adam.
    """

    name: Literal["none", "momentum", "adam"] = "none"
    lr: float = 1.0
    momentum: float = 0.9
    second: float = 0.99

    def empty(self, count: int) -> Floats:
        """Return the state before the first round, (2, count); (0,) without an optimizer."""
        return np.zeros(0 if self.name == "none" else (2, count))

    def apply(
        self, weights: Vector, update: Vector, state: Floats, learned: npt.NDArray[np.bool_]
    ) -> tuple[Vector, Floats]:
        """Return the next weights and the next state.

        Args:
            weights: weights of the global model, (count,).
            update: mean update, (count,).
            state: state after the previous round.
            learned: mask of the values that are parameters, (count,).
        """
        step = update.astype(np.float64)
        if self.name != "none":
            state = state.copy()
            first = self.momentum * state[0]
            if self.name == "adam":
                state[0] = first + (1 - self.momentum) * step
                state[1] = self.second * state[1] + (1 - self.second) * step**2
                # Without bias correction, as in their algorithm 2; the floor limits the first steps.
                moved = state[0] / (np.sqrt(state[1]) + ADAM_FLOOR)
            else:
                state[0] = first + step
                moved = state[0]
            step = np.where(learned, self.lr * moved, step)
        elif self.lr != 1.0:
            step = np.where(learned, self.lr * step, step)
        with np.errstate(over="ignore"):  # the caller checks whether they are finite
            updated: Vector = (weights.astype(np.float64) + step).astype(np.float32)
        return updated, state
