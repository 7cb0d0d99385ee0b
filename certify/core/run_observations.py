"""Observations of how the models ran: their processes, their sessions, the graphs in them, and the meter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.observation import Counts, Observed, mapping


@dataclass(frozen=True)
class PowerCheck(Observed):
    """Joules of a counter, and joules of power integrated over the same windows."""

    NAME = "power_check"
    counter_j: float
    integrated_j: float


@dataclass(frozen=True)
class RuntimeChoice(Observed):
    """Trials of ``--runtime auto`` for each model, from one list of runtimes and precisions.

    Attributes:
        unit: unit of the costs, ``J`` or ``s``.
        costs: cost per inference, one value per window, by arm, runtime and number of threads.
        left_out: why a runtime was excluded, by arm and runtime.
    """

    NAME = "runtime_choice"
    unit: Any
    costs: Mapping[str, Any]
    left_out: Mapping[str, Any]

    def tried(self, arm: str) -> set[str]:
        """Return all runtimes tried for a model, including those that could not run it."""
        return {*self.ran(arm), *(mapping(self.left_out, arm) or {})}

    def ran(self, arm: str) -> Mapping[str, Any]:
        """Return the costs by runtime, of the runtimes that could run a model."""
        return mapping(self.costs, arm) or {}


@dataclass(frozen=True)
class SessionFacts(Observed):
    """Actual settings of a model's sessions, and the providers that really ran it; by arm.

    Attributes:
        providers: providers that ran the model; None if unknown.
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
    """Operators of a model that should run quantized, and those that do; by arm.

    Attributes:
        unfused: names of the operators that do not.
    """

    NAME = "quantization"
    intended: float
    fused: float
    unfused: list[Any] | None = None


@dataclass(frozen=True)
class MaskedChannels(Observed):
    """Output channels of a model that are all zero; by arm."""

    NAME = "zero_channels"
    channels: Any
    zero: Any
    share: float


@dataclass(frozen=True)
class WorkerProcesses(Observed):
    """Processes that ran each model.

    Attributes:
        pids: process ids by arm.
        blocks_a_start: number of blocks that each process ran.
    """

    NAME = "workers"
    pids: Mapping[str, Any]
    blocks_a_start: float | None = None


@dataclass(frozen=True)
class PeakMemory(Counts):
    """Peak resident memory of the worker of each arm, in bytes."""

    NAME = "peak_memory"


@dataclass(frozen=True)
class NodeCosts(Observed):
    """Time of an inference by node of the executed graph; by arm.

    Attributes:
        nodes: the most expensive ones, in descending order; each a :class:`ProfiledNode`.
        inferences: number of profiled inferences.
        count: number of all nodes.
        rest: share of the time in all other nodes.
        places: providers that ran the nodes, each with the number of ``nodes`` and some of their ``names``.
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
