"""Observations of how the models ran: their processes, their sessions, the graphs in them, and the meter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.observed import Counts, Observed, mapping


@dataclass(frozen=True)
class PowerCheck(Observed):
    """Joules of a counter, and joules of power that was integrated in the same windows."""

    NAME = "power_check"
    counter_j: float
    integrated_j: float


@dataclass(frozen=True)
class RuntimeChoice(Observed):
    """What ``--runtime auto`` tried for each model, from one list of runtimes and precisions.

    Attributes:
        unit: of the costs, ``J`` or ``s``.
        costs: of an inference, one value a window, by arm, runtime and number of threads.
        left_out: why a runtime of the list has no costs, by arm and runtime.
    """

    NAME = "runtime_choice"
    unit: Any
    costs: Mapping[str, Any]
    left_out: Mapping[str, Any]

    def tried(self, arm: str) -> set[str]:
        """The list that a model chose from, runtimes that could not run it included."""
        return {*self.ran(arm), *(mapping(self.left_out, arm) or {})}

    def ran(self, arm: str) -> Mapping[str, Any]:
        """Costs by runtime of those that could run a model."""
        return mapping(self.costs, arm) or {}


@dataclass(frozen=True)
class SessionFacts(Observed):
    """How the sessions of a model were set up, and which providers really ran it; by arm.

    Attributes:
        providers: None where that is not known.
        elsewhere: names of some nodes that ran on another device.
    """

    NAME = "sessions"
    graph_optimization: Any = None
    threads: float | None = None
    providers: list[Any] | None = None
    spinning: Any = None
    precision: Any = None
    pinned: Any = None
    sha256: Any = None
    elsewhere: list[Any] | None = None


@dataclass(frozen=True)
class QuantizedOperators(Observed):
    """Operators of a model that are meant to run quantized, and those that do; by arm.

    Attributes:
        unfused: names of those that do not.
    """

    NAME = "quantization"
    intended: float
    fused: float
    unfused: list[Any] | None = None


@dataclass(frozen=True)
class MaskedChannels(Observed):
    """Output channels of a model that hold nothing but zeros; by arm."""

    NAME = "zero_channels"
    channels: Any
    zero: Any
    share: float


@dataclass(frozen=True)
class WorkerProcesses(Observed):
    """Which processes ran each model.

    Attributes:
        pids: number of its process, or those of its several processes, by arm.
        blocks_a_start: blocks that each of them ran.
    """

    NAME = "workers"
    pids: Mapping[str, Any]
    blocks_a_start: float | None = None


@dataclass(frozen=True)
class PeakMemory(Counts):
    """Largest resident memory of the worker of each arm, in bytes."""

    NAME = "peak_memory"


@dataclass(frozen=True)
class NodeCosts(Observed):
    """Where the time of a model's inference goes, by node of the graph that runs; by arm.

    Attributes:
        nodes: the most expensive ones, in descending order; each a :class:`ProfiledNode`.
        inferences: number of them that were profiled.
        count: number of all nodes.
        rest: share of the time in all other nodes.
        places: providers that ran the nodes, with the ``nodes`` number of them and some of their ``names``.
    """

    NAME = "node_costs"
    nodes: list[Any]
    inferences: float | None = None
    count: float | None = None
    rest: float | None = None
    places: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ProfiledNode(Observed):
    """One of the most expensive nodes: its name in the optimised graph, its type, and its share of the time."""

    share: float
    name: Any = ""
    operator: Any = ""
