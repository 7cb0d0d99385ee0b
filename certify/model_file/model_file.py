"""A model's file as one object, opened once: who needs digests, facts, contract or seal asks it, and never the suffix.

ONNX is built in. Other kinds of file are adapters, found by their suffix through the entry points
``leanmark.model_files``; this distribution brings one, for programs that ``torch.export`` wrote (``.pt2``).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol

from certify.model_file.identity import Certified, Identity
from certify.model_file.onnx_file.onnx_file import OnnxFile
from certify.model_file.onnx_graph.counts import Counts
from certify.model_file.onnx_graph.fusion import Quantization
from certify.model_file.onnx_graph.load import InputContract, Port
from certify.model_file.onnx_graph.zero_channels import ZeroChannels

GROUP = "leanmark.model_files"


class ModelFile(Protocol):
    """What every kind of model file can tell and do; methods raise LeanmarkError where the file is damaged.

    Attributes:
        path: where it lies.
        suffix: of files of this kind, such as ``.onnx``.
        carries_seal: whether a certificate can be sealed into it; beside others it lies in a file of its own.
        runs_as_stored: whether runtimes run its operators as they stand, so that the file tells which run on integers.
    """

    path: Path
    suffix: ClassVar[str]
    carries_seal: ClassVar[bool]
    runs_as_stored: ClassVar[bool]

    def __init__(self, path: Path) -> None: ...

    def __enter__(self) -> ModelFile: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def seal(self) -> bytes | None:
        """The envelope that is sealed into it, None where there is none."""

    def file_digest(self) -> str:
        """Hex SHA-256 of its bytes, a seal left out."""

    def content_digest(self) -> str:
        """Hex SHA-256 over what the model says, however it is written down."""

    def identities(self) -> tuple[str, str]:
        """Digests that stay when names, documentation and metadata change: of what it computes, and of its weights."""

    def metadata_digest(self) -> str | None:
        """Hex SHA-256 over its metadata without the seal; None for a kind that has no metadata."""

    def identify(self, certified: Certified) -> Identity:
        """How the file compares with what a certificate states."""

    def contracts(self) -> list[bytes]:
        """The preprocessing contracts that it carries, canonical JSON; more than one is a fault."""

    def size_bytes(self) -> int:
        """Size without a seal, with the weights beside it."""

    def weights_files(self) -> tuple[Path, ...]:
        """Files beside it that hold its weights."""

    def counts(self, contract: InputContract) -> Counts:
        """Multiply-adds, parameters and traffic of one sample that the contract makes."""

    def zero_channels(self) -> ZeroChannels:
        """Channels that compute nothing."""

    def published(self) -> str | None:
        """Which published network its weights are; None where none, or where files of its kind are not looked at."""

    def ports(self) -> tuple[Sequence[Port], Sequence[Port]] | None:
        """Inputs and outputs as a runtime addresses them; None where the file does not name them."""

    def graph_outputs(self) -> int:
        """Number of all outputs; a runtime computes those too that nobody reads."""

    def quantization(self, optimised: Path | None, integer: Sequence[Collection[str]] = ()) -> Quantization:
        """Operators that are meant to run on integers, and those that do.

        Args:
            optimised: the graph that a runtime made of the file, where it wrote one.
            integer: otherwise the names of each operator that the runtime says it runs on integers.
        """

    def check_feedable(self, contract: InputContract, batch: int) -> None:
        """Raise ModelError where the model takes something else than the contract makes."""

    def write_normal_form(self, target: Path, contract: bytes) -> None:
        """Write the form that is measured, digested and sealed, with the contract (canonical JSON) in it."""

    def write_sealed(self, target: Path, envelope: bytes) -> None:
        """Write a copy with the certificate sealed in where it can be, and the weights beside it."""

    def write_unsealed(self, target: Path) -> None:
        """Write a copy as it was before sealing, and the weights beside it."""


@functools.cache
def kinds() -> dict[str, type[ModelFile]]:
    """Adapters by suffix; ONNX, which is taken for everything else, is not among them."""
    return {kind.suffix: kind for kind in (point.load() for point in entry_points(group=GROUP))}


def kind_of(path: Path) -> type[ModelFile]:
    """The kind of a file, by its suffix: ONNX, under whatever name, unless an adapter claims it.

    Example:
        >>> kind_of(Path("model.onnx")).carries_seal
        True
    """
    return kinds().get(path.suffix, OnnxFile)


def open_model(path: Path) -> ModelFile:
    """Open a model's file; use it as a context manager.

    Raises:
        ModelError: it can't be read.
    """
    return kind_of(path)(path)
