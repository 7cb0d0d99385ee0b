"""ONNX files with internal or external weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import onnx

from certify.core.errors import ModelError
from certify.model_file.identity import Certified, Identity
from certify.model_file.onnx_file import seal, weights_file
from certify.model_file.onnx_file.computation import identities
from certify.model_file.onnx_file.content import content_digest, metadata_digest, unsealed_metadata
from certify.model_file.onnx_file.external_data import SMALL_BYTES, external_files, inline_external
from certify.model_file.onnx_file.messages import listed_fields, parse_bytes
from certify.model_file.onnx_file.normal_form import PREPROCESS_KEY, write_normal_form
from certify.model_file.onnx_graph.counts import Counts, count
from certify.model_file.onnx_graph.fusion import Quantization, fused_quantization, quantization
from certify.model_file.onnx_graph.load import (
    InputContract,
    Port,
    check_feedable,
    check_model,
    inputs,
    outputs,
    sample_shape,
)
from certify.model_file.onnx_graph.published_weights import published_name
from certify.model_file.onnx_graph.zero_channels import ZeroChannels, zero_channels
from certify.model_file.suffixes import ONNX


class OnnxFile:
    """An ONNX file; see :class:`certify.model_file.model_file.ModelFile`.

    Args:
        path: path of the file, with any suffix.

    Raises:
        ModelError: the file cannot be read.
    """

    suffix: ClassVar[str] = ONNX
    carries_seal: ClassVar[bool] = True
    runs_as_stored: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error

    def __enter__(self) -> OnnxFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed file, which must not be modified; large external weights are not read."""
        return parse_bytes(self._bytes(), self.path)

    @cached_property
    def _light(self) -> onnx.ModelProto:
        """The model with small tensors internalised, since shapes are computed from their values."""
        if not external_files(self.model, self.path.parent):
            return self.model
        light = onnx.ModelProto()
        light.CopyFrom(self.model)
        inline_external(light, self.path.parent, largest_weight=SMALL_BYTES)
        return light

    @cached_property
    def _entry(self) -> seal.Entry | None:
        return seal.find(self._stream, self.path)

    def _bytes(self) -> bytes:
        self._stream.seek(0)
        return self._stream.read()

    def seal(self) -> bytes | None:
        """Return the envelope sealed into it, or None."""
        return None if self._entry is None else self._entry.envelope

    @cached_property
    def _digest(self) -> str:
        return seal.digest(self._stream, seal.unsealed_length(self._stream, self._entry))

    def file_digest(self) -> str:
        """Return the hex SHA-256 of its bytes before sealing, computed once like all that is read of it."""
        return self._digest

    def content_digest(self, metadata: str | None = None) -> str:
        """Return the hex SHA-256 over every field of the model; ``metadata`` replaces the digest of its metadata."""
        return content_digest(self.model, self.path.parent, metadata=metadata)

    def identities(self) -> tuple[str, ...]:
        """Return digests of its computation and weights; see :mod:`certify.model_file.onnx_file.computation`."""
        return identities(self.model, self.path.parent)

    def metadata_digest(self) -> str | None:
        """Return the hex SHA-256 over the metadata entries without the seal."""
        return metadata_digest(self.model)

    def contracts(self) -> list[bytes]:
        """Return the values of the ``leanmark.preprocess`` entries."""
        for entry in self.model.metadata_props:
            listed_fields(entry)  # refuses invalid text
        return [entry.value.encode() for entry in self.model.metadata_props if entry.key == PREPROCESS_KEY]

    def size_bytes(self) -> int:
        """Return its size without a seal, including sidecar files with weights."""
        inside = seal.unsealed_length(self._stream, self._entry)
        return inside + sum(file.stat().st_size for file in self.weights_files())

    def weights_files(self) -> tuple[Path, ...]:
        """Return its sidecar files with weights."""
        return tuple(external_files(self.model, self.path.parent))

    def identify(self, certified: Certified) -> Identity:
        """Compare the file with the one in a certificate."""
        same_file = self.file_digest() == certified.sha256
        same_content = self.content_digest() == certified.content
        return Identity(
            same_file,
            same_content,
            self.metadata_digest() == certified.metadata,
            not same_content and self._is_stripped(certified),
            # Certified bytes can hide something only in a sidecar file; any other bytes must be what protobuf writes.
            weights_file.holds_only_weights(self.model, self.path.parent) if same_file else self._is_clean(),
            tuple(file.name for file in self.weights_files()),
        )

    def _is_clean(self) -> bool:
        """Return whether the file is exactly what a protobuf library writes for its model.

        Protobuf allows many encodings of a message (padded varints, fields in any order). Tools write the plain
        encoding; a file with another encoding was tampered with.
        """
        encoded: bytes = self.model.SerializeToString(deterministic=True)
        return encoded == self._bytes()

    def _is_stripped(self, certified: Certified) -> bool:
        """Return whether it is the certified model without leanmark's metadata entry or without any metadata."""
        if certified.metadata is None:
            return False
        if unsealed_metadata(self.model):
            restored = onnx.ModelProto(metadata_props=self.model.metadata_props)
            # With the contract restored, otherwise unchanged metadata have the certified digest.
            restored.metadata_props.add(key=PREPROCESS_KEY, value=certified.contract.decode())
            if metadata_digest(restored) != certified.metadata:
                return False
        return self.content_digest(metadata=certified.metadata) == certified.content

    def counts(self, contract: InputContract) -> Counts:
        """Return multiply-adds, parameters and traffic for one sample."""
        return count(self._light, sample_shape(contract))

    def zero_channels(self) -> ZeroChannels:
        """Count channels that compute nothing."""
        return zero_channels(self._light, self.path.parent)

    def published(self) -> str | None:
        """Return the published network whose weights it has, or None."""
        return published_name(self.model, self.path.parent)

    def ports(self) -> tuple[Sequence[Port], Sequence[Port]] | None:
        """Return the inputs and outputs of the graph."""
        check_model(self.model, self.path)
        return inputs(self.model), outputs(self.model)

    def graph_outputs(self) -> int:
        """Return the number of outputs of the graph."""
        return len(self.model.graph.output)

    def quantization(self, optimised: Path | None, integer: Sequence[Collection[str]] = ()) -> Quantization:
        """Return the operators that should run on integers, and those that do."""
        if optimised is None:
            return fused_quantization(self.model, integer)
        return quantization(self.model, onnx.load_model(str(optimised), load_external_data=False))

    def check_feedable(self, contract: InputContract, batch: int) -> None:
        """Raise ModelError if the file is not a valid model, or its inputs do not match the contract."""
        check_model(self.model, self.path)
        check_feedable(self.model, contract, batch)

    def write_normal_form(self, target: Path, contract: bytes) -> None:
        """Write the normal form; see :mod:`certify.model_file.onnx_file.normal_form`."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        write_normal_form(model, self.path.parent, target, contract)

    def write_sealed(self, target: Path, envelope: bytes) -> None:
        """Write a copy with the certificate at its end, and its sidecar files with weights."""
        weights_file.copy_weights(self.model, self.path.parent, target.parent)
        seal.seal(self.path, target, envelope)

    def write_unsealed(self, target: Path) -> None:
        """Write a copy as before sealing, and its sidecar files with weights."""
        weights_file.copy_weights(self.model, self.path.parent, target.parent)
        seal.unseal(self.path, target)
