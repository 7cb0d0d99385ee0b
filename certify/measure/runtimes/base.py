"""What a runtime adapter offers. It runs inside a worker, which imports nothing else but numpy."""

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
    """How a session is built.

    Attributes:
        input_names: inputs that are fed, in the order in which samples hold them.
        output_name: output that is read.
        threads: intra-op threads.
        cores: logical processors, one for each thread; the first is the calling thread's.
        graph_optimization: level of the runtime's graph optimiser.
        spinning: whether pool threads spin while they wait for work.
        optimised: where the graph that the runtime made of the model is written, None for nowhere; only for runtimes
            that write one.
        input_shape: what every input is fed, with the batch, for runtimes that are faster once they know it; None
            leaves the model's dynamic dimensions as they are.
        profile: whether the session notes what every node took, for :meth:`Session.nodes`. It is slower then, and no
            window is ever timed in it.
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
    """One node of the graph that a runtime made of a model.

    Attributes:
        name: as the runtime names it.
        operator: its type.
        provider: the part of the library, or the device, that computed it.
        duration_s: wall seconds of all its runs.
        runs: number of them.
        shapes_only: whether it computes sizes and indices and none of the model's values; runtimes keep those on the
            processor on purpose.
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
        """What :meth:`run` takes for one batch, made outside the timed part (see ``certify.core.feeding``)."""

    def run(self, feed: Any) -> Array:
        """One inference; returns when it is done. The array is the caller's own."""

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do; called at both ends of every window."""

    def facts(self) -> dict[str, Any]:
        """What was really set up: ``providers``, ``graph_optimization``, ``threads``, ``spinning``, ``precision``.

        A runtime that tells which operators run on integers, and writes no graph, gives ``integer_nodes`` too: for each
        the names by which it may be known in the file.
        """

    def nodes(self) -> list[NodeRun]:
        """What every node took since the session was opened with ``profile``; the session ends with it.

        Empty where the library keeps no such times, and never asked for where ``times_nodes`` says so.
        """


class Runtime(Protocol):
    """A library that runs model files on one kind of device.

    Attributes:
        device: ``cpu`` or ``cuda``.
        provider: what the library calls the part that computes.
        suffix: of the files that it runs, ``.onnx`` or ``.pt2``.
        precision: numeric precision that it is held to, or ``as in the model``.
        spinning: whether its pool threads spin while they wait for work.
        writes_graph: whether it writes the graph that it made of a model as an ONNX file.
        own_providers: what it may call the parts that compute on its device, ``provider`` among them.
        times_nodes: whether it tells what every node took.
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
        """Why it can't be used here, in a sentence that says what to do; None where it can."""

    def version(self) -> str:
        """Version of the library."""

    def libraries(self) -> Mapping[str, str]:
        """Versions of all libraries that compute, by name."""

    def accelerator(self) -> Mapping[str, Any]:
        """Facts of the device for the evidence, as plain JSON values; none for the processor, which others describe."""

    def open(self, path: Path, options: SessionOptions) -> Session:
        """Load a model.

        Raises:
            ModelError: the library can't load it; the sentence says why.
        """
