"""Interface of a runtime adapter. It runs inside a worker, which otherwise imports only NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]

AS_IN_MODEL = "as in the model"


@dataclass(frozen=True)
class SessionOptions:
    """Settings of a session.

    Attributes:
        input_names: inputs to feed, in the order of the samples' fields.
        output_name: output to read.
        threads: intra-op threads.
        cores: logical processors, one per thread; the first is for the calling thread.
        graph_optimization: level of the runtime's graph optimiser.
        spinning: whether pool threads spin while waiting for work.
        optimised: path for the optimised graph, or None; only for runtimes that can write it.
        input_shape: shape of every input, with the batch, for runtimes that are faster with fixed shapes; None keeps
            the model's dynamic dimensions.
        profile: whether the session records the time of every node, for :meth:`Session.nodes`. This is slower, and such
            a session never runs timed windows.
    """

    input_names: tuple[str, ...]
    output_name: str
    threads: int
    cores: tuple[int, ...]
    graph_optimization: str = "all"
    spinning: bool = True
    optimised: Path | None = None
    input_shape: tuple[int, ...] | None = None
    profile: bool = False


@dataclass(frozen=True)
class NodeRun:
    """One node of the graph that a runtime executes.

    Attributes:
        name: name given by the runtime.
        operator: operator type.
        provider: execution provider or device that computed it.
        duration_s: wall seconds of all its runs.
        runs: number of runs.
        shapes_only: whether it computes only sizes and indices; runtimes deliberately keep such nodes on the processor.
    """

    name: str
    operator: str
    provider: str
    duration_s: float
    runs: int
    shapes_only: bool = False


class Session(Protocol):
    """One loaded model."""

    def prepare(self, batch: Array) -> Any:
        """Return the argument of :meth:`run` for one batch; not timed (see ``certify.core.input_mapping``)."""

    def run(self, feed: Any) -> Array:
        """Run one inference, and return the output when it is complete. The caller owns the array."""

    def synchronize(self) -> None:
        """Wait until the device is idle; called at both ends of every window."""

    def facts(self) -> dict[str, Any]:
        """Return the actual settings: ``providers``, ``graph_optimization``, ``threads``, ``spinning``, ``precision``.

        A runtime that reports which operators run on integers, but writes no graph, also returns ``integer_nodes``: for
        each operator, its possible names in the file.
        """

    def nodes(self) -> list[NodeRun]:
        """Return the time of every node since the session was opened with ``profile``; this ends the session.

        Empty if the library records no such times; not called if ``times_nodes`` is False.
        """


class Runtime(Protocol):
    """A library that runs model files on one kind of device.

    Attributes:
        device: ``cpu`` or ``cuda``.
        provider: the library's name of its execution provider.
        suffix: suffix of the files that it runs, ``.onnx`` or ``.pt2``.
        precision: enforced numeric precision, or ``as in the model``.
        spinning: whether its pool threads spin while waiting for work.
        writes_graph: whether it can write the optimised graph as an ONNX file.
        own_providers: names of execution providers on its device, including ``provider``.
        times_nodes: whether it reports the time of every node.
    """

    device: str
    provider: str
    suffix: str
    precision: str
    spinning: bool
    writes_graph: bool
    own_providers: frozenset[str]
    times_nodes: bool

    def unavailable(self) -> str | None:
        """Return why it cannot be used here, in a sentence that says what to do; None if it can."""

    def version(self) -> str:
        """Return the version of the library."""

    def libraries(self) -> Mapping[str, str]:
        """Return the versions of all computing libraries, by name."""

    def accelerator(self) -> Mapping[str, Any]:
        """Return facts of the device as JSON values, for the evidence; empty for the processor, described elsewhere."""

    def open(self, path: Path, options: SessionOptions) -> Session:
        """Load a model.

        Raises:
            ModelError: the library cannot load it; the message says why.
        """
