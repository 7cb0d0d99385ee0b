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


@dataclass(frozen=True)
class Simplified(Observed):
    """Simplification of the baseline; the simplified file is the measured one.

    Costs are multiply-adds per sample of the graph as loaded by the runtime, plus ten for each written element; null if
    the file was not examined.

    Attributes:
        given_digest: hex SHA-256 of the given file.
        given_bytes: size of the given file.
        bytes: size of the measured file.
        given_cost: cost of the given file.
        cost: cost of the measured file.
        removed: what was removed, as sentences.
        needless_cost: cost in the measured file that its outputs do not need; null if none was found.
        needless: names of the operators with the most needless work.
        unseen_cost: cost in the measured file of operators in which padding cannot be detected; null if there are none.
        unseen: types of these operators.
        rewritten: faster forms of its operators, as sentences; null if they are unchanged.
        unread: why the file was not examined; null if it was.
        failed: why examining it failed; null if it did not.
    """

    NAME = "simplified"
    given_digest: Any
    given_bytes: float
    bytes: float
    given_cost: float | None = None
    cost: float | None = None
    removed: list[Any] | None = None
    needless_cost: float | None = None
    needless: list[Any] | None = None
    unseen_cost: float | None = None
    unseen: list[Any] | None = None
    rewritten: list[Any] | None = None
    unread: str | None = None
    failed: str | None = None

    @property
    def removed_share(self) -> float:
        """Fraction of the cost that was removed; 0 if unknown."""
        return max(0.0, 1 - self.cost / self.given_cost) if self.given_cost and self.cost is not None else 0.0

    @property
    def needless_share(self) -> float:
        """Fraction of the given file's cost that remains and is needless."""
        return max(0.0, self.needless_cost or 0.0) / self.given_cost if self.given_cost else 0.0

    @property
    def unseen_share(self) -> float:
        """Fraction of the measured file's cost in which padding cannot be detected."""
        return max(0.0, self.unseen_cost or 0.0) / self.cost if self.cost else 0.0

    @property
    def removed_bytes_share(self) -> float:
        """Fraction of the bytes that was removed."""
        return max(0.0, 1 - self.bytes / self.given_bytes) if self.given_bytes else 0.0
