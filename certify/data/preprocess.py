"""The preprocessing contract: every step from a sample of the data to a model's inputs, and from its output back.

It travels with the model (stored in the file, or given as a small YAML file), and is never guessed. There is one kind
each for models that take images (:class:`certify.data.images.ImagePreprocess`), tokens
(:class:`certify.data.tokens.TokenPreprocess`), or unchanged arrays
(:class:`certify.data.array_contract.ArrayPreprocess`).
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import rfc8785

from certify.core.errors import UsageError
from certify.core.input_mapping import by_input
from certify.core.suggest import unknown_name
from certify.core.yaml_document import read_document
from certify.data.contract import MAX_YAML_BYTES, checked_fields
from certify.data.dataset import Indices, Split


class Preprocess(abc.ABC):
    """Preprocessing of a sample, and the meaning of the model's output. Subclasses are frozen dataclasses.

    Attributes:
        output_name: name of the scored output.
        reading: meaning of the output, ``logits`` or ``probabilities``.
        dtype: NumPy type name of every input.
        class_map: output column of each class of the data, or None if output i is class i.

    Example:
        >>> contract = Preprocess.from_json({
        ...     "kind": "arrays", "inputs": ["x"], "shapes": [[20]], "dtypes": ["float32"], "output_name": "y",
        ...     "reading": "probabilities"})
        >>> type(contract).__name__, contract.input_shape(batch=16)
        ('ArrayPreprocess', (16, 20))
    """

    kind: ClassVar[str]
    """Kind as stated in a contract; a contract without a kind is for images."""
    output_name: str
    reading: str
    dtype: str
    class_map: tuple[int, ...] | None

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # a dataclass
        for name, value in self._checked(values, lambda *_: "preprocessing contract").items():
            # A frozen instance can only be set like this.
            object.__setattr__(self, name, value)

    @classmethod
    def _checked(cls, values: Mapping[str, Any], place: Callable[..., str]) -> dict[str, Any]:
        checked = checked_fields(cls, values, place)
        for key, problem in cls._problems(checked):
            raise UsageError(f"{place(key)}: {problem}.")
        return checked

    @staticmethod
    def _problems(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicts between fields: (field, sentence)."""
        columns = checked["class_map"] or ()
        if len(set(columns)) < len(columns):
            yield "class_map", f"class_map must hold distinct output columns, got {list(columns)}"

    @property
    @abc.abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order of the samples' fields."""

    @abc.abstractmethod
    def port_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of every input of the model."""

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return the shape of one sample and the NumPy type name of an input."""
        return self.port_shape(1)[1:], self.dtype

    @property
    def memory(self) -> np.dtype[Any]:
        """Type of the elements of :meth:`batch`."""
        return np.dtype(self.dtype)

    @abc.abstractmethod
    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Prepare the samples at ``indices``: one array of :meth:`input_shape`.

        Raises:
            DataError: a sample cannot be decoded or converted to the model's input.
        """

    @abc.abstractmethod
    def noise(self, count: int) -> npt.NDArray[Any]:
        """Return synthetic samples of :meth:`input_shape` for trying a model; the same ones each time."""

    @abc.abstractmethod
    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """Return statistics that distinguish preprocessed samples from random numbers, by name.

        Args:
            samples: preprocessed samples of :meth:`input_shape`.
        """

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of preprocessed samples: (n, ...), or (n, inputs, ...) for a model of several inputs."""
        count, shape = len(self.input_names), self.port_shape(batch)
        return shape if count == 1 else (shape[0], count, *shape[1:])

    def sample_bytes(self) -> int:
        """Size of one preprocessed sample in bytes."""
        return int(np.prod(self.input_shape(1))) * self.memory.itemsize

    def feed(self, split: Split, indices: Indices) -> dict[str, npt.NDArray[Any]]:
        """Return the input arrays for the samples at ``indices``, by name."""
        return by_input(self.input_names, self.batch(split, indices))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every field; a contract for images omits the kind."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # a dataclass
        stated = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        # The first contracts were for images and had no kind; their digests must not change.
        return stated if self.kind == "image" else {"kind": self.kind, **stated}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "preprocessing contract") -> Preprocess:
        """Inverse of :meth:`to_json`; fields with a default may be omitted.

        Raises:
            UsageError: a key is unknown (the nearest is suggested) or missing, or a value is invalid.
        """
        return _contract(values, lambda *_: where)

    @classmethod
    def from_yaml(cls, path: Path) -> Preprocess:
        """Read a contract from a YAML file whose keys are the field names.

        Raises:
            UsageError: the file cannot be read, a key is unknown, duplicated or missing, or a value is invalid; the
                sentence names file and line.
        """
        document = read_document(path, MAX_YAML_BYTES)
        return _contract(document.values, document.place)

    def digest(self) -> str:
        """Return the hex SHA-256 of the canonical JSON."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()


def _contract(values: Mapping[str, Any], place: Callable[..., str]) -> Preprocess:
    """Return a contract of the kind stated in the values."""
    from certify.data import array_contract, images, tokens  # all kinds import this module

    contracts = (images.ImagePreprocess, tokens.TokenPreprocess, array_contract.ArrayPreprocess)
    kinds: dict[str, type[Preprocess]] = {kind.kind: kind for kind in contracts}
    kind = kinds.get(str(values.get("kind", "image")))
    if kind is None:
        raise UsageError(f"{place('kind')}: {unknown_name('kind of contract', str(values['kind']), kinds)}")
    return kind(**kind._checked({key: value for key, value in values.items() if key != "kind"}, place))
