"""Guards over the workers' environment: nothing from the maker, and the same for both models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, unknown
from certify.core.evidence import ARMS, Evidence
from certify.core.surroundings import OWN_LIBRARIES, PASSED_ON, SET, WorkerSurroundings, stated_libraries

NAMED = 3
"""Maximum number of libraries listed in a sentence."""


@comparing
def surroundings_clean(evidence: Evidence, edition: Edition) -> Answer:
    """The workers ran in isolated interpreters, without the maker's environment and start-up modules."""
    observed = _observed(evidence)
    if observed is None:
        return unknown("The environment of the workers was not recorded")
    faults = []
    for arm, worker in zip(ARMS, observed, strict=True):
        foreign = sorted({str(name) for name in worker.variables} - {*PASSED_ON, *SET})
        found = [
            *(["an interpreter that was not isolated"] if worker.isolated is not True else []),
            *([f"the variables {', '.join(foreign)}"] if foreign else []),
            *([f"the start-up modules {', '.join(map(str, worker.customized))}"] if worker.customized else []),
        ]
        faults += [f"the {arm} ran with {' and '.join(found)}"] if found else []
    sentence = "; ".join(faults) or "Both models ran in isolated interpreters, without the user's variables or modules"
    return check(
        not faults,
        sentence[0].upper() + sentence[1:],
        "external settings or code may have slowed one of the models",
    )


@comparing
def same_runtime(evidence: Evidence, edition: Edition) -> Answer:
    """Both models used the same libraries apart from their runtimes' own, with digests as in the certificate."""
    observed = _observed(evidence)
    if observed is None:
        return unknown("The libraries loaded by the workers were not recorded")
    before, after = (worker.libraries for worker in observed)
    together = {**before, **after}
    workload = evidence.header.workload
    own = [OWN_LIBRARIES.get(workload.of(arm).runtime, "") for arm in ARMS]
    unlike = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    alone = sorted([*_foreign(before, after, own[0]), *_foreign(after, before, own[1])])
    faults = {
        f"{_named(unlike)} differ between the models": bool(unlike),
        f"only one of the models had {_named(alone)} loaded": bool(alone),
        "the runtime's own library is not among them": not all(
            any(name.startswith(start) for name in loaded) for start, loaded in zip(own, (before, after), strict=True)
        ),
        "the certificate states different digests": dict(evidence.header.libraries) != stated_libraries(together),
    }
    found = [meaning for meaning, is_fault in faults.items() if is_fault]
    return check(
        not found,
        f"The digests of {len(together)} loaded libraries were compared",
        f"{'; '.join(found)}, so the models did not run on the same known runtime",
    )


def _observed(evidence: Evidence) -> tuple[WorkerSurroundings, ...] | None:
    found = [worker for worker in evidence.observed_by_arm(WorkerSurroundings) or () if worker is not None]
    known = [worker for worker in found if isinstance(worker.libraries, Mapping) and worker.libraries]
    return tuple(known) if len(known) == len(ARMS) else None


def _foreign(libraries: Mapping[str, Any], others: Mapping[str, Any], own: str) -> list[str]:
    """Return libraries of packages that the other model did not load at all; system libraries load on demand."""
    packages = {_package(name) for name in others} | {"system", "python", _package(own)}
    return [name for name in libraries if _package(name) not in packages or name not in others and _is_other(name)]


def _package(name: str) -> str:
    return name.partition("/")[0]


def _is_other(name: str) -> bool:
    return _package(name) == "other"


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
