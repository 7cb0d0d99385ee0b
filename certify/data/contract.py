"""Types and checks of the fields of a preprocessing contract; none may be unknown, duplicated or guessed."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from certify.core.validation import validated

MAX_YAML_BYTES = 1 << 20
MAX_COLUMN = 1 << 24

Name = Annotated[str, MinLen(1)]
Side = Annotated[int, Ge(1), Le(8192)]
"""Pixels."""
Length = Annotated[int, Ge(1), Le(1 << 16)]
"""Number of tokens of one sample."""
Count = Annotated[int, Ge(1), Le(MAX_COLUMN)]
Index = Annotated[int, Ge(0), Le(MAX_COLUMN)]
Positive = Annotated[float, Gt(0)]
Columns = Annotated[tuple[Index, ...], MinLen(2)]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Reading = Literal["logits", "probabilities"]


def checked_fields(kind: type, values: object, place: Callable[..., str]) -> dict[str, Any]:
    """Return the checked fields of a contract, defaults included.

    Args:
        kind: dataclass of the contract.
        values: fields by name.
        place: see :func:`certify.core.validation.validated`.

    Raises:
        UsageError: a key is unknown or missing, or a value is invalid.
    """
    return dict(vars(validated(_fields_of(kind), values, "the contract", place)))


@functools.cache
def _fields_of(kind: Any) -> Callable[..., Any]:
    """Return a dataclass with the same fields and nothing else, since the class itself calls the check."""
    types = typing.get_type_hints(kind, include_extras=True)
    fields = [(f.name, types[f.name], dataclasses.field(default=f.default)) for f in dataclasses.fields(kind)]
    return dataclasses.make_dataclass(
        # JSON has neither NaN nor infinity, and a contract is stored as JSON.
        kind.__name__,
        fields,
        namespace={"__pydantic_config__": {"allow_inf_nan": False}},
    )
