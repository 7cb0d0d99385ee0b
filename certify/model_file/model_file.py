"""A model file as one object, opened once, for digests, facts, contract and seal; only this module looks at suffixes.

ONNX is built in. Other kinds of file have adapters, found by suffix through the entry points ``leanmark.model_files``;
this distribution includes one, for programs written by ``torch.export`` (``.pt2``).
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
    """Interface of every kind of model file; methods raise LeanmarkError if the file is damaged.

    Attributes:
        path: path of the file.
        suffix: suffix of files of this kind, such as ``.onnx``.
        carries_seal: whether a certificate can be sealed into it; otherwise it is a sidecar file.
        runs_as_stored: whether runtimes run its operators as stored, so that the file shows which run on integers.
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
        """Return the envelope sealed into it, or None."""

    def file_digest(self) -> str:
        """Return the hex SHA-256 of its bytes without a seal."""

    def content_digest(self) -> str:
        """Return the hex SHA-256 over the model's content, however it is serialised."""

    def identities(self) -> tuple[str, ...]:
        """Return digests of computation and weights, which do not depend on names, documentation and metadata."""

    def metadata_digest(self) -> str | None:
        """Return the hex SHA-256 over its metadata without the seal; None for a kind of file without metadata."""

    def identify(self, certified: Certified) -> Identity:
        """Compare the file with the one in a certificate."""

    def contracts(self) -> list[bytes]:
        """Return the preprocessing contracts in it, as canonical JSON; more than one is an error."""

    def size_bytes(self) -> int:
        """Return its size without a seal, including sidecar files with weights."""

    def weights_files(self) -> tuple[Path, ...]:
        """Return its sidecar files with weights."""

    def counts(self, contract: InputContract) -> Counts:
        """Return multiply-adds, parameters and traffic for one sample of the contract."""

    def zero_channels(self) -> ZeroChannels:
        """Count channels that compute nothing."""

    def published(self) -> str | None:
        """Return the published network whose weights it has; None if unknown or not supported."""

    def ports(self) -> tuple[Sequence[Port], Sequence[Port]] | None:
        """Return inputs and outputs as named by runtimes; None if the file does not name them."""

    def graph_outputs(self) -> int:
        """Return the number of all outputs; runtimes also compute unused ones."""

    def quantization(self, optimised: Path | None, integer: Sequence[Collection[str]] = ()) -> Quantization:
        """Return the operators that should run on integers, and those that do.

        Args:
            optimised: optimised graph written by a runtime, if available.
            integer: otherwise, possible names of each operator that the runtime reports to run on integers.
        """

    def check_feedable(self, contract: InputContract, batch: int) -> None:
        """Raise ModelError if the model's inputs do not match the contract."""

    def write_normal_form(self, target: Path, contract: bytes) -> None:
        """Write the form that is measured, digested and sealed, including the contract (canonical JSON)."""

    def write_sealed(self, target: Path, envelope: bytes) -> None:
        """Write a copy with the certificate sealed in if possible, and its sidecar files with weights."""

    def write_unsealed(self, target: Path) -> None:
        """Write a copy as before sealing, and its sidecar files with weights."""


@functools.cache
def kinds() -> dict[str, type[ModelFile]]:
    """Return adapters by suffix, without ONNX, which is the default for all other files."""
    return {kind.suffix: kind for kind in (point.load() for point in entry_points(group=GROUP))}


def kind_of(path: Path) -> type[ModelFile]:
    """Return the kind of a file, by its suffix: ONNX unless an adapter claims the suffix.

    Example:
        >>> kind_of(Path("model.onnx")).carries_seal
        True
    """
    return kinds().get(path.suffix.lower(), OnnxFile)


def has_model_suffix(path: Path) -> bool:
    """Return whether a file has the suffix of some kind of model file.

    Example:
        >>> has_model_suffix(Path("model.onnx")), has_model_suffix(Path("lineage.json"))
        (True, False)
    """
    return path.suffix.lower() == kind_of(path).suffix


def open_model(path: Path) -> ModelFile:
    """Open a model file; use it as a context manager.

    Raises:
        ModelError: the file cannot be read.
    """
    return kind_of(path)(path)
