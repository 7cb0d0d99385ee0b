from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from certify.core.errors import UsageError
from certify.core.validation import validated


@dataclass(frozen=True)
class Part:
    count: Annotated[int, Ge(0), Le(9)]
    shares: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    name: str
    scale: float
    part: Part | None
    parts: Mapping[str, Part]
    side: Annotated[int, Ge(1)] | Literal["exact"] | None
    values: tuple[float, ...] = ()


class Model(BaseModel):
    low: int = 0

    @model_validator(mode="after")
    def _low(self) -> Model:
        if self.low > 5:
            raise ValueError("Low means low")
        return self


GOOD: dict[str, Any] = {"name": "a", "scale": 1, "part": {"count": 2}, "parts": {"x": {"count": 3}}, "side": None}


def place(*keys: object) -> str:
    return "/".join(map(str, ("file", *keys)))


def test_values_become_dataclass_fields_when_they_fit() -> None:
    found = validated(Whole, {**GOOD, "values": [1, 2.5], "side": "exact"}, "the whole", place)
    assert found == Whole("a", 1.0, Part(2), {"x": Part(3)}, "exact", (1.0, 2.5))
    assert isinstance(found.scale, float)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nam": 1}, "file/nam: Unknown key of the whole 'nam'; did you mean 'name'?"),
        ({"part": {"coun": 1}}, "file/part/coun: Unknown key of part of the whole 'coun'; did you mean 'count'?"),
        ({"parts": {"x": {"shars": 1}}},
         "file/parts/x/shars: Unknown key of parts.x of the whole 'shars'; did you mean 'shares'?"),
        ({"parts": {"x": {}}}, "file/parts/x: parts.x of the whole lacks the key 'count'; add it."),
        ({"scale": True}, "file/scale: scale of the whole must be a valid number, got True."),
        ({"scale": "1"}, "file/scale: scale of the whole must be a valid number, got '1'."),
        ({"scale": None}, "file/scale: scale of the whole must be a valid number, got None."),
        ({"part": {"count": True}}, "file/part/count: part.count of the whole must be a valid integer, got True."),
        ({"part": {"count": 1.0}}, "file/part/count: part.count of the whole must be a valid integer, got 1.0."),
        ({"part": {"count": 10}},
         "file/part/count: part.count of the whole must be less than or equal to 9, got 10."),
        ({"part": [1]}, "file/part: part of the whole must be a mapping, got [1]."),
        ({"parts": {"x": {"count": 1, "shares": {"y": "z"}}}},
         "file/parts/x/shares/y: parts.x.shares.y of the whole must be a valid number, got 'z'."),
        ({"values": [1, True, "x"]}, "file/values/1: values.1 of the whole must be a valid number, got True."),
        ({"values": 3}, "file/values: values of the whole must be a list, got 3."),
        ({"side": [1]}, "file/side: side of the whole must be a valid integer or 'exact', got [1]."),
        ({"side": 0}, "file/side: side of the whole must be greater than or equal to 1 or 'exact', got 0."),
        ({"name": 12 * "\u202elong"}, None),
        ({"name": ["\n" * 100]},
         "file/name: name of the whole must be a valid string, got ['" + r"\n" * 29 + "...."),
        ({"name": object()},
         "file: the whole contains a value that JSON cannot represent: found a value of type object."),
    ],
)  # fmt: skip
def test_first_wrong_value_is_named_with_location_and_nearest_key(change: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        assert validated(Whole, {**GOOD, **change}, "the whole", place).name == change["name"]
        return
    with pytest.raises(UsageError) as caught:
        validated(Whole, {**GOOD, **change}, "the whole", place)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("values", [None, 3, [], {"name": "a"}])
def test_values_are_refused_when_fields_are_missing(values: object) -> None:
    with pytest.raises(UsageError, match="file: the whole"):
        validated(Whole, values, "the whole", place)


def test_message_of_a_validator_is_kept_when_a_model_refuses() -> None:
    with pytest.raises(UsageError, match=r"^file: the model: low means low\.$"):
        validated(Model, {"low": 6}, "the model", place)
    with pytest.raises(UsageError, match="Unknown key of the model 'lo'; did you mean 'low'"):
        validated(Model, {"lo": 6}, "the model", place)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_reads_back_to_the_last_bit(value: float) -> None:
    assert validated(Whole, {**GOOD, "scale": value}, "the whole", place).scale.hex() == value.hex()
