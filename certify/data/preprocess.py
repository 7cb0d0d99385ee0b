"""The preprocessing contract: everything that lies between a sample of the data and a model's inputs and output.

It travels with the model (sealed in the file, or given as a small YAML), and is never guessed. Its kinds are those of
models that take images (:class:`certify.data.images.ImagePreprocess`), tokens
(:class:`certify.data.tokens.TokenPreprocess`), or arrays as they are
(:class:`certify.data.given_arrays.ArrayPreprocess`).
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
from certify.core.feeding import by_input
from certify.core.suggest import unknown_name
from certify.core.yaml_document import read_document
from certify.data.contract import MAX_YAML_BYTES, checked_fields
from certify.data.dataset import Indices, Split


class Preprocess(abc.ABC):
    """What is done to a sample before the model, and how its output is read. Subclasses are frozen dataclasses.

    Attributes:
        output_name: name of the output that is scored.
        reading: what the output holds, ``logits`` or ``probabilities``.
        dtype: numpy name of the type of every input.
        class_map: output column of each class of the data, or None where output i is class i.
    """

    kind: ClassVar[str]
    """As a contract states it; one that states none is of images."""
    output_name: str
    reading: str
    dtype: str
    class_map: tuple[int, ...] | None

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # a dataclass
        for name, value in self._checked(values, lambda *_: "preprocessing contract").items():
            object.__setattr__(self, name, value)

    @classmethod
    def _checked(cls, values: Mapping[str, Any], place: Callable[..., str]) -> dict[str, Any]:
        checked = checked_fields(cls, values, place)
        for key, problem in cls._problems(checked):
            raise UsageError(f"{place(key)}: {problem}.")
        return checked

    @staticmethod
    def _problems(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What fields can't be beside one another: (field, sentence)."""
        columns = checked["class_map"] or ()
        if len(set(columns)) < len(columns):
            yield "class_map", f"class_map should be different output columns, found {list(columns)}"

    @property
    @abc.abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order in which samples hold them."""

    @abc.abstractmethod
    def port_shape(self, batch: int) -> tuple[int, ...]:
        """Shape of every input of the model."""

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape of one sample and numpy name of the type of the input of a name."""
        return self.port_shape(1)[1:], self.dtype

    @property
    def memory(self) -> np.dtype[Any]:
        """Type of the values of :meth:`batch`."""
        return np.dtype(self.dtype)

    @abc.abstractmethod
    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Make the samples at ``indices`` ready: one array of :meth:`input_shape`.

        Raises:
            DataError: a sample does not decode, or can't be brought to what the model takes.
        """

    @abc.abstractmethod
    def noise(self, count: int) -> npt.NDArray[Any]:
        """Made-up samples of :meth:`input_shape` that a model can be tried with, the same ones each time."""

    @abc.abstractmethod
    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """What tells preprocessed samples from random numbers, by its name in the observed statistics.

        Args:
            samples: of :meth:`input_shape`.
        """

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """Shape of preprocessed samples: (n, ...), or (n, inputs, ...) for a model of several inputs."""
        count, shape = len(self.input_names), self.port_shape(batch)
        return shape if count == 1 else (shape[0], count, *shape[1:])

    def sample_bytes(self) -> int:
        """Size of one preprocessed sample."""
        return int(np.prod(self.input_shape(1))) * self.memory.itemsize

    def feed(self, split: Split, indices: Indices) -> dict[str, npt.NDArray[Any]]:
        """What the inputs are fed for the samples at ``indices``, by name."""
        return by_input(self.input_names, self.batch(split, indices))

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field; one of tokens says its kind, one without a kind is of pictures."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # a dataclass
        stated = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return stated if self.kind == "image" else {"kind": self.kind, **stated}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "preprocessing contract") -> Preprocess:
        """Inverse of :meth:`to_json`; fields that have a usual value may be left out.

        Raises:
            UsageError: a key is unknown (the nearest is named) or missing, or a value not allowed.
        """
        return _made(values, lambda *_: where)

    @classmethod
    def from_yaml(cls, path: Path) -> Preprocess:
        """Read a contract from a YAML file: one key a field, the names of the fields.

        Raises:
            UsageError: the file can't be read, a key is unknown, doubled or missing, or a value not allowed; the
                sentence names file and line.
        """
        document = read_document(path, MAX_YAML_BYTES)
        return _made(document.values, document.place)

    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()


def _made(values: Mapping[str, Any], place: Callable[..., str]) -> Preprocess:
    """A contract of the kind that the values state."""
    from certify.data import given_arrays, images, tokens  # all kinds are built on this module

    made = (images.ImagePreprocess, tokens.TokenPreprocess, given_arrays.ArrayPreprocess)
    kinds: dict[str, type[Preprocess]] = {kind.kind: kind for kind in made}
    kind = kinds.get(str(values.get("kind", "image")))
    if kind is None:
        raise UsageError(f"{place('kind')}: {unknown_name('kind of contract', str(values['kind']), kinds)}")
    return kind(**kind._checked({key: value for key, value in values.items() if key != "kind"}, place))
