"""Whether the runtime that ``auto`` took is the cheapest of those that were tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessments.efficiency.guards.result import mean
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.observed import mapping, sequence
from certify.core.windows import LARGEST


def runtime_fault(evidence: Evidence) -> str | None:
    """Why the workload's runtime is not the cheapest of those that were tried; None where it is, or was named.

    Raises:
        CertificateError: the observation is malformed.
    """
    observed = evidence.observation("runtime_choice")
    costs = mapping(observed, "costs")
    if observed is None or costs is None:
        return None
    least = {name: _least(name, mapping(costs, name) or {}) for name in costs}
    used = evidence.header.workload.runtime
    best = min(least, key=lambda name: least[name], default=None)
    if best is not None and used in least and least[used] <= least[best]:
        return None
    return f"The models ran on {used}, while the cheapest of the runtimes that were tried for the baseline is {best}."


def _least(name: str, costs: Mapping[str, Any]) -> float:
    """Mean cost of an inference at the best number of threads."""
    means = []
    for threads in costs:
        values = sequence(costs, threads) or []
        if not values or not all(isinstance(value, int | float) and 0 <= value < LARGEST for value in values):
            raise CertificateError(f"Evidence: the costs of the runtime {name} should be numbers, found {values!r}.")
        means.append(mean(float(value) for value in values))
    if not means:
        raise CertificateError(f"Evidence: no costs of the runtime {name} are recorded.")
    return min(means)
