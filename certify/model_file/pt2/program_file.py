"""A program that ``torch.export.save`` wrote: without a place for a seal, and another file with any other byte."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from certify.core.files import copy, sha256_file, write_bytes
from certify.model_file.identity import Certified, Identity
from certify.model_file.onnx_graph.counts import Counts
from certify.model_file.onnx_graph.fusion import Quantization
from certify.model_file.onnx_graph.load import InputContract, Port
from certify.model_file.onnx_graph.zero_channels import ZeroChannels
from certify.model_file.pt2 import archive, computation, facts, weights


class ProgramFile:
    """See :class:`certify.model_file.model_file.ModelFile`.

    Args:
        path: of the file.
    """

    suffix: ClassVar[str] = archive.SUFFIX
    carries_seal: ClassVar[bool] = False
    runs_as_stored: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> ProgramFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open: the archive is read as a whole."""

    @cached_property
    def program(self) -> archive.Exported:
        """The checked program."""
        return archive.read_exported(self.path)

    def seal(self) -> bytes | None:
        """None: it can't carry one."""
        return None

    def file_digest(self) -> str:
        """Hex SHA-256 of its bytes."""
        return sha256_file(self.path)

    def content_digest(self) -> str:
        """Hex SHA-256 over the members of the archive by value."""
        return archive.content_digest(self.program)

    def identities(self) -> tuple[str, str]:
        """Digests of what it computes and of its weights; see :mod:`certify.model_file.pt2.computation`."""
        return computation.identities(self.program)

    def metadata_digest(self) -> str | None:
        """None: it has no metadata."""
        return None

    def identify(self, certified: Certified) -> Identity:
        """How the file compares with what a certificate states."""
        same_file = self.file_digest() == certified.sha256
        same_content = self.content_digest() == certified.content
        return Identity(same_file, same_content, certified.metadata is None, stripped=False, clean=same_file)

    def contracts(self) -> list[bytes]:
        """The one contract of a normal form, or none."""
        stored = archive.stored_contract(self.program)
        return [] if stored is None else [stored]

    def size_bytes(self) -> int:
        """Size of the archive."""
        return self.path.stat().st_size

    def weights_files(self) -> tuple[Path, ...]:
        """None: weights lie in the archive."""
        return ()

    def counts(self, contract: InputContract) -> Counts:
        """Multiply-adds and parameters, from the shapes that the exporter stored."""
        return facts.count_exported(self.program)

    def published(self) -> None:
        """Programs are not looked at."""

    def zero_channels(self) -> ZeroChannels:
        """Channels that compute nothing."""
        return weights.exported_zero_channels(self.program)

    def ports(self) -> tuple[Sequence[Port], Sequence[Port]] | None:
        """None: torch.export makes names up."""
        return None

    def graph_outputs(self) -> int:
        """Number of all outputs."""
        return len(facts.output_names(self.program))

    def quantization(self, optimised: Path | None, integer: Sequence[Collection[str]] = ()) -> Quantization:
        """Quantized operators, none of which is ever fused."""
        return facts.exported_quantization(self.program)

    def check_feedable(self, contract: InputContract, batch: int) -> None:
        """Raise ModelError where the program takes something else than the contract makes."""
        facts.check_exported_feedable(self.program, contract, batch)

    def write_normal_form(self, target: Path, contract: bytes) -> None:
        """Write the archive again, its members in one order, with the contract among them."""
        write_bytes(target, archive.normal_form(self.program, contract))

    def write_sealed(self, target: Path, envelope: bytes) -> None:
        """Copy the file as it is; its certificate lies beside it."""
        copy(self.path, target)

    def write_unsealed(self, target: Path) -> None:
        """Copy the file as it is."""
        copy(self.path, target)
