"""Base of typed observations for the guards, and strict reading of their values.

Measuring writes observations and judging reads them. Evidence is untrusted, so every field is checked. The kinds are
defined in certify.core.observations and certify.core.run_observations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from certify.core.errors import CertificateError
from certify.core.windows import LARGEST

Kind = TypeVar("Kind", bound="Observed")
Numbers = TypeVar("Numbers", bound="Counts")


def anything(values: Mapping[str, Any], key: str) -> Any:
    """Return a recorded value of any type; None if it is absent."""
    return values.get(key)


def number(values: Mapping[str, Any], key: str) -> float | None:
    """Return a recorded number; None if it is absent or null.

    Raises:
        CertificateError: it has another type.
    """
    value = values.get(key)
    if value is None:
        return None
    # "not abs(value) < LARGEST" also refuses NaN, because comparisons with NaN are false.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise CertificateError(f"Evidence: '{key}' of an observation must be a number, got {value!r}.")
    return float(value)


def mapping(values: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """Return a recorded mapping; None if it is absent or null.

    Raises:
        CertificateError: it has another type.
    """
    value = None if values is None else values.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise CertificateError(f"Evidence: '{key}' of an observation must be a mapping, got {value!r}.")
    return value


def sequence(values: Mapping[str, Any], key: str) -> list[Any] | None:
    """Return a recorded list; None if it is absent or null.

    Raises:
        CertificateError: it has another type.
    """
    value = values.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise CertificateError(f"Evidence: '{key}' of an observation must be a list, got {value!r}.")
    return None if value is None else list(value)


def text(values: Mapping[str, Any], key: str) -> str | None:
    """Return a recorded string; None if it is absent or null.

    Raises:
        CertificateError: it has another type.
    """
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise CertificateError(f"Evidence: '{key}' of an observation must be a string, got {value!r}.")
    return value


Reader = Callable[[Mapping[str, Any], str], Any]
REQUIRED: dict[str, Reader] = {"float": number, "list[Any]": sequence, "Mapping[str, Any]": mapping}
"""Readers of required fields, by their type."""
READERS: dict[str, Reader] = {
    **REQUIRED,
    **{f"{kind} | None": reader for kind, reader in REQUIRED.items()},
    "str | None": text,
}


class Observed:
    """A typed observation; ``NAME`` is its name in the evidence."""

    NAME: ClassVar[str]

    def values(self) -> dict[str, Any]:
        """Return its JSON values."""
        return dict(vars(self))

    @classmethod
    def read(cls: type[Kind], values: Mapping[str, Any]) -> Kind | None:
        """Read recorded values; None if a required one is absent or null.

        Raises:
            CertificateError: a value has the wrong type.
        """
        # Annotations are strings here (PEP 563), so readers are found by the name of a type.
        types = {field.name: str(field.type) for field in fields(cls)}  # type: ignore[arg-type]
        found = {name: READERS.get(kind, anything)(values, name) for name, kind in types.items()}
        absent = any(found[name] is None and kind in REQUIRED for name, kind in types.items())
        return None if absent else cls(**found)


@dataclass(frozen=True)
class Counts(Observed):
    """Numbers by name, None for unknown ones."""

    counts: Mapping[str, float | None]

    def values(self) -> dict[str, Any]:
        """Return its JSON values: the numbers themselves."""
        return dict(self.counts)

    @classmethod
    def read(cls: type[Numbers], values: Mapping[str, Any]) -> Numbers | None:
        """Read recorded numbers; None if there are none.

        Raises:
            CertificateError: a value is neither a number nor null.
        """
        return cls({name: number(values, name) for name in values}) if values else None
