"""Guards over the choice of runtimes: both models chose from one list, and the baseline took the cheapest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, mean
from certify.core.errors import CertificateError
from certify.core.evidence import ARMS, Evidence
from certify.core.observation import mapping, sequence
from certify.core.run_observations import RuntimeChoice
from certify.core.windows import LARGEST


@comparing
def same_choices(evidence: Evidence, edition: Edition) -> Answer:
    """Both models' runtime and precision come from one list, and the candidate's could also run the baseline."""
    choice = evidence.observed(RuntimeChoice)
    workload = evidence.header.workload
    before, after = (workload.of(arm).runtime for arm in ARMS)
    if choice is None:
        sentence = f"The baseline ran on {before}, the candidate on {after}, as requested"
        return check(not workload.candidate_runtime, sentence, "no recorded choice allows them to differ")
    lists = [choice.tried(arm) for arm in ARMS]
    faults = {
        "the lists differ": lists[0] != lists[1],
        "the candidate ran on a runtime that was not tried or cannot run the baseline": not (
            after in choice.ran("candidate") and after in choice.ran("baseline")
        ),
    }
    found = [meaning for meaning, is_fault in faults.items() if is_fault]
    sentence = f"Of {len(lists[0])} runtimes and precisions the baseline used {before}, the candidate {after}"
    return check(not found, sentence, "; ".join(found))


def runtime_fault(evidence: Evidence) -> str | None:
    """Return why the baseline's runtime is not the cheapest one tried; None if it is, or if it was named.

    Raises:
        CertificateError: the observation is malformed.
    """
    choice = evidence.observed(RuntimeChoice)
    if choice is None:
        return None
    costs = choice.ran("baseline")
    least = {name: _least(name, mapping(costs, name) or {}) for name in costs}
    used = evidence.header.workload.runtime
    best = min(least, key=lambda name: least[name], default=None)
    if best is not None and used in least and least[used] <= least[best]:
        return None
    return f"The baseline ran on {used}, but the cheapest runtime tried for it is {best}."


def _least(name: str, costs: Mapping[str, Any]) -> float:
    """Return the mean cost per inference at the best number of threads."""
    means = []
    for threads in costs:
        values = sequence(costs, threads) or []
        if not values or not all(isinstance(value, int | float) and 0 <= value < LARGEST for value in values):
            raise CertificateError(f"Evidence: the costs of the runtime {name} must be numbers, got {values!r}.")
        means.append(mean(float(value) for value in values))
    if not means:
        raise CertificateError(f"Evidence: the costs of the runtime {name} are missing.")
    return min(means)
