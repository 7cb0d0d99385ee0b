from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from certify.core import observations, run_observations
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation
from certify.core.observation import Counts, Observed
from certify.core.observations import ClassNames, FiniteOutputs, Inputs, Interface, Overlap, Scored
from certify.core.run_observations import (
    NodeCosts,
    PeakMemory,
    PowerCheck,
    QuantizedOperators,
    SessionFacts,
    WorkerProcesses,
)

WRITTEN: list[Observed] = [
    PowerCheck(10.0, 11.0),
    SessionFacts("all", 2, ["CPU"]),
    QuantizedOperators(3, 2, ["conv1"]),
    Interface([1, 3, 32, 32], 4, 4, 1),
    Inputs(8, 0.5, 8, 0.1, None, 20.0),
    Scored(9, 10),
    FiniteOutputs(True, 10),
    ClassNames(["cat", "dog"]),
    WorkerProcesses({"baseline": [1, 2], "candidate": 3}, 2),
    NodeCosts([{"name": "conv", "operator": "Conv", "share": 0.5}], 8, 1, 0.5, {"CPU": {"nodes": 1, "names": []}}),
]


@pytest.mark.parametrize("observed", WRITTEN, ids=lambda observed: observed.NAME)
def test_observation_reads_back_the_same_when_written(observed: Observed) -> None:
    written = Observation.of(observed)
    assert written.name == observed.NAME
    assert type(observed).read({**written.values, "of a later version": 1}) == observed


@pytest.mark.parametrize(
    "counts", [Overlap({"train/test": 3, "validation/test": None}), PeakMemory({"candidate": 4e8})]
)
def test_counts_read_back_the_same_when_written(counts: Counts) -> None:
    assert Observation.of(counts).values == counts.counts
    assert type(counts).read(counts.values()) == counts


def test_every_kind_has_a_unique_name() -> None:
    found = [*vars(observations).values(), *vars(run_observations).values()]
    kinds = {kind for kind in found if isinstance(kind, type) and issubclass(kind, Observed) and hasattr(kind, "NAME")}
    names = [kind.NAME for kind in kinds]
    assert len(set(names)) == len(names) >= len(WRITTEN)


@pytest.mark.parametrize("values", [{}, {"counter_j": 1.0}, {"counter_j": 1.0, "integrated_j": None}])
def test_observation_is_none_when_it_has_too_few_fields(values: dict[str, Any]) -> None:
    assert PowerCheck.read(values) is None
    assert Overlap.read({}) is None


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (PowerCheck, {"counter_j": "1", "integrated_j": 1.0}),
        (PowerCheck, {"counter_j": True, "integrated_j": 1.0}),
        (PowerCheck, {"counter_j": 1e300}),
        (QuantizedOperators, {"intended": 1, "fused": 1, "unfused": "conv1"}),
        (SessionFacts, {"threads": []}),
        (Interface, {"input": 3}),
        (Overlap, {"train/test": "0"}),
        (ClassNames, {"names": "cat"}),
        (WorkerProcesses, {"pids": [1]}),
        (NodeCosts, {"nodes": [], "places": 1}),
    ],
)
def test_observation_is_refused_when_a_value_has_the_wrong_type(kind: type[Observed], values: dict[str, Any]) -> None:
    with pytest.raises(CertificateError, match="Evidence: '"):
        kind.read(values)


def test_observations_of_both_models_are_none_when_one_is_absent(make_evidence: Callable[..., Evidence]) -> None:
    session = {"providers": ["CPU"]}
    absent = make_evidence(observations={"sessions": {"baseline": session}})
    assert absent.observed_by_arm(SessionFacts) is None
    both = make_evidence(observations={"sessions": {"baseline": session, "candidate": {}}})
    assert both.observed_by_arm(SessionFacts) == (SessionFacts(providers=["CPU"]), SessionFacts())
    scarce = make_evidence(observations={"quantization": {"baseline": {"intended": 0, "fused": 0}, "candidate": {}}})
    assert scarce.observed_by_arm(QuantizedOperators) == (QuantizedOperators(0, 0), None)
