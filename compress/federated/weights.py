"""A model's state as bytes for transmission, and as the vector that is averaged.

The bytes are those that :func:`compress.core.model_stats.state_digest` digests, so the SHA-256 of a received model is
its digest in the lineage. All floating-point tensors of the state, including running statistics, are averaged as one
float32 vector; other tensors, such as counters, keep the server's values.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.core.errors import DataError, ModelError

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Position of each tensor of a model in its bytes and in its vector.

    Attributes:
        headers: header of each tensor, in the order of the names.
        sizes: size of each tensor in bytes.
        floats: number of values of each tensor in the vector; 0 if it is not averaged.
        names: sorted names of the tensors.
        learned: whether each tensor is a parameter, and not a running statistic.
    """

    headers: tuple[bytes, ...]
    sizes: tuple[int, ...]
    floats: tuple[int, ...]
    names: tuple[str, ...]
    learned: tuple[bool, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """Return the layout of a model.

        Raises:
            ModelError: a weight has a floating-point type other than float32, or there are no weights.
        """
        headers, sizes, floats = [], [], []
        for name, tensor in sorted(model.state_dict().items()):
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ModelError(f"Federated training averages float32 weights, and {name} is {tensor.dtype}.")
            # The same framing as state_digest, so that one SHA-256 serves both.
            header = f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode()
            headers.append(struct.pack("<I", len(header)) + header)
            sizes.append(tensor.numel() * tensor.element_size())
            floats.append(tensor.numel() if tensor.is_floating_point() else 0)
        if not sum(floats):
            raise ModelError("The model has no weights to average.")
        names = tuple(sorted(model.state_dict()))
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        learned = tuple(name in parameters for name in names)
        return cls(tuple(headers), tuple(sizes), tuple(floats), names, learned)

    @property
    def count(self) -> int:
        """Number of values in the vector."""
        return sum(self.floats)

    @property
    def content_bytes(self) -> int:
        """Size of the model in bytes."""
        return sum(map(len, self.headers)) + sum(self.sizes)

    @property
    def parts(self) -> tuple[int, ...]:
        """Number of values of each averaged tensor, in the order of the vector."""
        return tuple(count for count in self.floats if count)

    def where(self, wanted: Callable[[str, bool], bool]) -> npt.NDArray[np.bool_]:
        """Return a mask of the vector's values that belong to wanted tensors, (count,).

        Args:
            wanted: function of a tensor's name and of whether it is a parameter.
        """
        chosen = [
            wanted(name, learned)
            for name, learned, count in zip(self.names, self.learned, self.floats, strict=True)
            if count
        ]
        return np.repeat(np.array(chosen, dtype=np.bool_), self.parts)

    def content(self, model: nn.Module) -> bytes:
        """Return the model's state as bytes, whose SHA-256 is its digest."""
        tensors = [tensor for _, tensor in sorted(model.state_dict().items())]
        return b"".join(header + _raw(tensor) for header, tensor in zip(self.headers, tensors, strict=True))

    def vector(self, content: bytes) -> Vector:
        """Return a copy of the averaged values of a model's bytes, (count,).

        Raises:
            DataError: the bytes are of another model, or a value is not finite.
        """
        if len(content) != self.content_bytes:
            raise DataError(f"The model must have {self.content_bytes} bytes, got {len(content)}.")
        parts, at = [], 0
        for header, size, count in zip(self.headers, self.sizes, self.floats, strict=True):
            if content[at : at + len(header)] != header:
                raise DataError("The bytes are of a model with other tensors.")
            at += len(header)
            if count:
                parts.append(np.frombuffer(content, "<f4", count, at))
            at += size
        found: Vector = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(found).all():
            raise DataError("The model has values that are not finite.")
        return found

    def replaced(self, content: bytes, vector: Vector) -> bytes:
        """Return a model's bytes with other averaged values."""
        copy, at, read = bytearray(content), 0, 0
        for header, size, count in zip(self.headers, self.sizes, self.floats, strict=True):
            at += len(header)
            if count:
                copy[at : at + size] = vector[read : read + count].astype("<f4").tobytes()
            at, read = at + size, read + count
        return bytes(copy)

    def load(self, model: nn.Module, content: bytes) -> None:
        """Load the state in a model's bytes into the model, in place.

        Raises:
            DataError: the bytes are of another model.
        """
        self.vector(content)
        at = 0
        with torch.no_grad():
            states = [tensor for _, tensor in sorted(model.state_dict().items())]
            for header, size, tensor in zip(self.headers, self.sizes, states, strict=True):
                at += len(header)
                if size:
                    # Copy, because torch warns about read-only buffers and slices of bytes may be unaligned.
                    raw = torch.frombuffer(bytearray(content[at : at + size]), dtype=tensor.dtype)
                    tensor.copy_(raw.reshape(tensor.shape))
                at += size


def digest(content: bytes) -> str:
    """Return the hex SHA-256 of a model's bytes, its digest in the lineage.

    Example:
        >>> from compress.core.model_stats import state_digest
        >>> model = nn.Linear(2, 2)
        >>> digest(Layout.of(model).content(model)) == state_digest(model)
        True
    """
    return hashlib.sha256(content).hexdigest()


def _raw(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    # View as uint8, because numpy has no bfloat16; an empty tensor cannot be viewed.
    return plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
