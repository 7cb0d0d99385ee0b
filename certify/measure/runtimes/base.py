"""What a runtime adapter offers. It runs inside a worker, which imports nothing else but numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SessionOptions:
    """How a session is built.

    Attributes:
        input_name: input that is fed.
        output_name: output that is read.
        threads: intra-op threads.
        cores: logical processors, one for each thread; the first is the calling thread's.
        graph_optimization: level of the runtime's graph optimiser.
        spinning: whether pool threads spin while they wait for work.
        optimised: where the graph that the runtime made of the model is written, None for nowhere.
    """

    input_name: str
    output_name: str
    threads: int
    cores: tuple[int, ...]
    graph_optimization: str = "all"
    spinning: bool = True
    optimised: Path | None = None


class Session(Protocol):
    """One loaded model."""

    def prepare(self, batch: Array) -> Any:
        """What :meth:`run` takes for one batch, made outside the timed part."""

    def run(self, feed: Any) -> Array:
        """One inference; returns when it is done."""

    def facts(self) -> dict[str, Any]:
        """What was really set up: ``providers``, ``graph_optimization``, ``threads``, ``spinning``."""


class Runtime(Protocol):
    """A library that runs ONNX files on one kind of device.

    Attributes:
        device: ``cpu`` or ``cuda``.
        provider: what the library calls the part that computes.
    """

    device: str
    provider: str

    def version(self) -> str:
        """Version of the library."""

    def open(self, path: Path, options: SessionOptions) -> Session:
        """Load a model.

        Raises:
            ModelError: the library can't load it; the sentence says why.
        """
