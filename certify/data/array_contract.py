"""The preprocessing contract of a model that takes arrays of the data unchanged."""

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
    """Mapping of named arrays to a model's inputs, and the meaning of its output; only the arrays' types change.

    A model with one input takes the data's only array, whatever their names; with several inputs, each takes the array
    of the same name.

    Attributes:
        inputs: names of the model's inputs.
        shapes: shape of one sample of each input.
        dtypes: type of each input; the data are converted to it within the same kind (float64 to float32).
        output_name: name of the scored output.
        reading: meaning of the output, ``logits`` or ``probabilities``.
        class_map: output column of each class of the data, or None if output i is class i.

    Raises:
        UsageError: an invalid value.

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
                yield (
                    key,
                    f"{key} has {len(checked[key])} values, but there are {len(names)} inputs; give one per input",
                )
        if len(set(names)) < len(names):
            yield "inputs", f"two inputs have the same name ({', '.join(names)}); give each its own"

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs."""
        return self.inputs

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """NumPy type name of the first input."""
        return self.dtypes[0]

    @property
    def memory(self) -> np.dtype[Any]:
        """Type of a sample; for several inputs, a record with one field each."""
        if len(self.inputs) == 1:
            return np.dtype(self.dtypes[0])
        return np.dtype(list(zip(self.inputs, self.dtypes, self.shapes, strict=True)))

    def port_shape(self, batch: int) -> tuple[int, ...]:
        """Return (batch, ...) of the first input."""
        return batch, *self.shapes[0]

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return the shape of one sample and the type of an input."""
        place = self.inputs.index(name)
        return self.shapes[place], self.dtypes[place]

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """Return (batch, ...) for one input, or (batch,) records for several."""
        return self.port_shape(batch) if len(self.inputs) == 1 else (batch,)

    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Return the samples at ``indices`` in the types of the inputs.

        Raises:
            DataError: the data are not arrays, an array is missing, or one has the wrong shape or kind of type.
        """
        fields = split.fields
        # A single array without a name is the model's only input, whatever the input is called.
        names = dict(zip(self.inputs, fields if len(self.inputs) == len(fields) == 1 else self.inputs, strict=True))
        for name, source in names.items():
            shape, dtype = self.port(name)
            if source not in fields or len(fields) != len(names):
                raise DataError(
                    f"The model takes the inputs {', '.join(self.inputs)}, but the data hold {', '.join(fields)}; give "
                    "the arrays of the data the names of the model's inputs."
                )
            own_shape, own_dtype = fields[source]
            # `same_kind` lets float64 become float32, but never floats become integers.
            if own_shape != shape or not np.can_cast(own_dtype, dtype, casting="same_kind"):
                raise DataError(
                    f"The data's {source} is {own_dtype} {_size(own_shape)} per sample, but the model's input '{name}' "
                    f"takes {dtype} {_size(shape)}; convert the array, or correct the contract."
                )
        samples = np.empty(self.input_shape(len(indices)), dtype=self.memory)
        parts = {name: samples if len(names) == 1 else samples[name] for name in names}
        for position, i in enumerate(indices):
            sample = split.arrays(int(i))
            for name, source in names.items():
                parts[name][position] = sample[source]
        return samples

    def noise(self, count: int) -> npt.NDArray[Any]:
        """Return standard normal floats; for integers and booleans zeros and ones, which every embedding table has."""
        random = np.random.default_rng(0)
        samples = np.empty(self.input_shape(count), dtype=self.memory)
        for name, shape, dtype in zip(self.inputs, self.shapes, self.dtypes, strict=True):
            whole = (count, *shape)
            values = random.standard_normal(whole) if "float" in dtype else random.integers(0, 2, whole)
            (samples if len(self.inputs) == 1 else samples[name])[...] = values
        return samples

    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """Return nothing: no statistic is known that distinguishes rows of a table from random numbers."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every field and the kind."""
        return {**super().to_json(), "shapes": [list(shape) for shape in self.shapes]}


def as_given(
    dataset: Dataset,
    inputs: Mapping[str, str] | None = None,
    output_name: str = "output",
    reading: Reading = "logits",
    class_map: Sequence[int] | None = None,
) -> ArrayPreprocess:
    """Return the contract that feeds the arrays of a data set unchanged.

    Args:
        dataset: data that hold arrays.
        inputs: types of the model's inputs by name, if a file states them; otherwise the inputs have the names and
            types of the arrays, with float32 in place of float64, as torch's modules expect.
        output_name: name of the model's output.
        reading: meaning of the output.
        class_map: output column of each class of the data.

    Raises:
        DataError: the names of the arrays are not those of the model's inputs, or a type is not supported.
    """
    fields = dataset.test.fields
    if inputs is None:
        # NumPy's default is float64, which hardly any model accepts.
        inputs = {name: "float32" if dtype == "float64" else dtype for name, (_, dtype) in fields.items()}
    alone = len(inputs) == len(fields) == 1
    if not alone and set(inputs) != set(fields):
        raise DataError(
            f"The model takes the inputs {', '.join(inputs)}, but data '{dataset.name}' hold {', '.join(fields)}; give "
            "the arrays of the data the names of the model's inputs."
        )
    shapes = tuple(fields[next(iter(fields)) if alone else name][0] for name in inputs)
    dtypes = tuple(inputs.values())
    mapped = None if class_map is None else tuple(class_map)
    return ArrayPreprocess(tuple(inputs), shapes, dtypes, output_name, reading, mapped)  # type: ignore[arg-type]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "of one value"
