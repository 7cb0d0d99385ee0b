"""The preprocessing contract of a model whose inputs are taken from the data as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le, MinLen

from certify.core.errors import DataError
from certify.data.contract import MAX_COLUMN, Columns, Name, Reading
from certify.data.dataset import Dataset, Indices, Split
from certify.data.preprocess import Preprocess

Length = Annotated[int, Ge(1), Le(MAX_COLUMN)]
DTYPES = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


@dataclass(frozen=True)
class ArrayPreprocess(Preprocess):
    """How named arrays are fed to a model, and how its output is read; nothing but their type is changed.

    A model of one input takes the data's only array, whatever both are called; of several inputs each takes the array
    of its name.

    Attributes:
        inputs: names of the model's inputs.
        shapes: of one sample of each input.
        dtypes: of each input; the data's type is brought to it where that keeps its kind (float64 to float32).
        output_name: name of the output that is scored.
        reading: what the output holds, ``logits`` or ``probabilities``.
        class_map: output column of each class of the data, or None where output i is class i.

    Raises:
        UsageError: a value that is not allowed.

    Example:
        >>> ArrayPreprocess(("age", "income"), ((1,), (12,)), ("int64", "float32"), "output", "logits").input_names
        ('age', 'income')
    """

    kind: ClassVar[str] = "arrays"
    inputs: Annotated[tuple[Name, ...], MinLen(1)]
    shapes: Annotated[tuple[tuple[Length, ...], ...], MinLen(1)]
    dtypes: Annotated[tuple[DTYPES, ...], MinLen(1)]
    output_name: Name
    reading: Reading
    class_map: Columns | None = None

    @staticmethod
    def _problems(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from Preprocess._problems(checked)
        names = checked["inputs"]
        for key in ("shapes", "dtypes"):
            if len(checked[key]) != len(names):
                yield key, f"{key} has {len(checked[key])} values and there are {len(names)} inputs; give one an input"
        if len(set(names)) < len(names):
            yield "inputs", f"two inputs have one name ({', '.join(names)}); name each"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return self.inputs

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """Numpy name of the type of the first input."""
        return self.dtypes[0]

    @property
    def memory(self) -> np.dtype[Any]:
        """Type of a sample: of several inputs a record with a field for each."""
        if len(self.inputs) == 1:
            return np.dtype(self.dtypes[0])
        return np.dtype(list(zip(self.inputs, self.dtypes, self.shapes, strict=True)))

    def port_shape(self, batch: int) -> tuple[int, ...]:
        """(batch, ...) of the first input."""
        return batch, *self.shapes[0]

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape of one sample and type of an input."""
        place = self.inputs.index(name)
        return self.shapes[place], self.dtypes[place]

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """(batch, ...) for one input, (batch,) records for several."""
        return self.port_shape(batch) if len(self.inputs) == 1 else (batch,)

    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """The samples at ``indices`` in the types of the inputs.

        Raises:
            DataError: the data are not arrays, or lack one, or one has another shape or kind of type.
        """
        fields = split.fields
        names = dict(zip(self.inputs, fields if len(self.inputs) == len(fields) == 1 else self.inputs, strict=True))
        for name, source in names.items():
            shape, dtype = self.port(name)
            if source not in fields or len(fields) != len(names):
                raise DataError(
                    f"The model takes {', '.join(self.inputs)} and the data hold {', '.join(fields)}; name the arrays "
                    "of the data as the inputs of the model."
                )
            held, given = fields[source]
            if held != shape or not np.can_cast(given, dtype, casting="same_kind"):
                raise DataError(
                    f"The data's {source} is {given} {_size(held)} and the model's input '{name}' takes {dtype} "
                    f"{_size(shape)} for each sample; convert the array, or correct the contract."
                )
        samples = np.empty(self.input_shape(len(indices)), dtype=self.memory)
        parts = {name: samples if len(names) == 1 else samples[name] for name in names}
        for position, i in enumerate(indices):
            held_sample = split.arrays(int(i))
            for name, source in names.items():
                parts[name][position] = held_sample[source]
        return samples

    def noise(self, count: int) -> npt.NDArray[Any]:
        """Standard normal floats; of integers and booleans zeros and ones, which every table of embeddings knows."""
        random = np.random.default_rng(0)
        samples = np.empty(self.input_shape(count), dtype=self.memory)
        for name, shape, dtype in zip(self.inputs, self.shapes, self.dtypes, strict=True):
            whole = (count, *shape)
            values = random.standard_normal(whole) if "float" in dtype else random.integers(0, 2, whole)
            (samples if len(self.inputs) == 1 else samples[name])[...] = values
        return samples

    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """Nothing: what tells a row of a table from random numbers is not known."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field and the kind."""
        return {**super().to_json(), "shapes": [list(shape) for shape in self.shapes]}


def as_given(
    dataset: Dataset,
    inputs: Mapping[str, str] | None = None,
    output_name: str = "output",
    reading: Reading = "logits",
    class_map: Sequence[int] | None = None,
) -> ArrayPreprocess:
    """The contract that feeds the arrays of a data set as they are.

    Args:
        dataset: of arrays.
        inputs: type by name of the model's inputs, where a file states them; otherwise they are called as the arrays,
            and take their types but float32 for float64, as torch's modules do.
        output_name: of the model.
        reading: what the output holds.
        class_map: output column of each class of the data.

    Raises:
        DataError: the arrays are not those that the model takes, or of a type that none of them can have.
    """
    fields = dataset.test.fields
    if inputs is None:
        inputs = {name: "float32" if dtype == "float64" else dtype for name, (_, dtype) in fields.items()}
    alone = len(inputs) == len(fields) == 1
    if not alone and set(inputs) != set(fields):
        raise DataError(
            f"The model takes {', '.join(inputs)} and data '{dataset.name}' hold {', '.join(fields)}; name the arrays "
            "of the data as the inputs of the model."
        )
    shapes = tuple(fields[next(iter(fields)) if alone else name][0] for name in inputs)
    dtypes = tuple(inputs.values())
    mapped = None if class_map is None else tuple(class_map)
    return ArrayPreprocess(tuple(inputs), shapes, dtypes, output_name, reading, mapped)  # type: ignore[arg-type]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of one value"
