"""Estimates: numbers with interval, unit, method and evidence level."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import CertificateError


class EvidenceLevel(enum.Enum):
    """How directly a figure was observed, strongest first.

    ``DIRECT`` is for figures without an energy meter (counts and clock readings); the other five are levels of energy:
    a wall-socket meter, an energy counter of the device, integrated power samples, a model of the power, and a proxy
    that is not energy.

    Example:
        >>> EvidenceLevel.COUNTER.rank < EvidenceLevel.MODELLED.rank
        True
    """

    DIRECT = "direct"
    WALL = "wall"
    COUNTER = "counter"
    SAMPLED = "sampled"
    MODELLED = "modelled"
    PROXY = "proxy"

    @property
    def rank(self) -> int:
        """Rank of the level: 0 is the strongest."""
        return list(EvidenceLevel).index(self)


def weakest(levels: Iterable[EvidenceLevel]) -> EvidenceLevel:
    """Return the level of a figure made from several parts, which is that of the weakest part.

    Example:
        >>> weakest([EvidenceLevel.COUNTER, EvidenceLevel.MODELLED]).value
        'modelled'
    """
    return max(levels, key=lambda level: level.rank)


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: the point estimate, in ``unit``.
        low: lower end of the interval described by ``method`` (two-sided 95 % unless stated otherwise).
        high: upper end of the interval; equal to ``value`` and ``low`` for an exact count.
        unit: SI symbol, ``1`` for a ratio, ``%`` for percent, ``points`` for a difference of percentages.
        n: number of independent observations.
        method: how value and interval were computed, in a few words.
        evidence: how directly it was observed.

    Example:
        >>> ratio = Estimate(0.31, 0.29, 0.33, "1", 40, "paired log-ratios", EvidenceLevel.COUNTER)
        >>> print(ratio)
        0.31 [0.29, 0.33]
        >>> print(ratio.scaled(100))
        31 [29, 33]
    """

    value: float
    low: float
    high: float
    unit: str
    n: int
    method: str
    evidence: EvidenceLevel = EvidenceLevel.DIRECT

    def __post_init__(self) -> None:
        if math.isnan(self.value) or not self.low <= self.value <= self.high:
            raise ValueError(f"an estimate must have low <= value <= high, got {self.low}, {self.value}, {self.high}")

    @classmethod
    def exact(cls, count: float, unit: str, method: str) -> Estimate:
        """Make an estimate of an exact count.

        Example:
            >>> print(Estimate.exact(4096, "B", "file size"))
            4096 B
        """
        return cls(count, count, count, unit, 1, method)

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate times a known non-negative factor, in the same unit."""
        return replace(self, value=factor * self.value, low=factor * self.low, high=factor * self.high)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        if self.low == self.high:
            return f"{self.value:.6g}{unit}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{unit}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; an infinite end is written as null."""
        fields = dict(vars(self))
        fields["evidence"] = self.evidence.value
        for end in ("low", "high"):
            if math.isinf(fields[end]):
                fields[end] = None
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Estimate:
        """Inverse of :meth:`to_json`.

        Raises:
            CertificateError: a field is missing or of the wrong type.
        """
        try:
            return cls(
                value=float(fields["value"]),
                low=-math.inf if fields["low"] is None else float(fields["low"]),
                high=math.inf if fields["high"] is None else float(fields["high"]),
                unit=str(fields["unit"]),
                n=int(fields["n"]),
                method=str(fields["method"]),
                evidence=EvidenceLevel(fields["evidence"]),
            )
        # OverflowError if 'n' is infinite.
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CertificateError(f"an estimate in the certificate is malformed: {error}") from error


def total(parts: Sequence[Estimate]) -> Estimate:
    """Return the sum of estimates in one unit.

    The ends are sums of the ends, since one meter usually read all parts and its error affects each of them alike.

    Example:
        >>> print(total([Estimate(2.0, 1.0, 3.0, "J", 1, "meter"), Estimate.exact(1.0, "J", "meter")]))
        3 [2, 4] J
    """
    value, low, high = (math.fsum(getattr(part, name) for part in parts) for name in ("value", "low", "high"))
    first, n = parts[0], min(part.n for part in parts)
    return Estimate(value, low, high, first.unit, n, first.method, weakest(part.evidence for part in parts))
