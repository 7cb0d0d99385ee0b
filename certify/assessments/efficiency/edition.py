"""Editions of the grade: dated constants, read from the package's own YAML, never edited after release."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from certify.core.errors import CertificateError
from certify.core.measuring_rules import MeasuringRules
from certify.core.suggest import unknown_name

Section = TypeVar("Section")


@dataclass(frozen=True)
class Grading:
    """From a ratio and a loss to a letter; what each constant means stands beside it in the YAML file."""

    energy_weight: float
    loss_weight: float
    letters: Mapping[str, float]
    last_letter: str
    best_modelled_letter: str
    largest_loss_percent: float
    stated_loss_percent: float
    may_be_unknown: tuple[str, ...]

    def letter(self, score_db: float) -> str:
        """The letter of a score in decibels, before any cap."""
        return next((letter for letter, lowest in self.letters.items() if score_db >= lowest), self.last_letter)


@dataclass(frozen=True)
class Thresholds:
    """What the findings allow."""

    time_limit_used: float
    power_tolerance: float
    throttled_windows_share: float
    foreign_cpu_share: float
    steal_share: float
    throttled_time_share: float
    temperature_drift_c: float
    idle_workers_cpu_share: float
    settings_tolerance: float
    fused_share: float
    zero_channels_excess: float
    baseline_zero_channels: float
    constant_inputs_share: float
    distinct_inputs: int
    input_std: float
    input_correlation: float
    input_repetition: float
    minimum_test_samples: int
    overlap_s: float
    clock_tick_s: float
    cpu_time_excess: float
    least_cpu_share: float
    equal_durations_share: float
    latency_factor: float
    joules_tolerance: float
    linear_joules_tolerance: float
    idle_tolerance: float


@dataclass(frozen=True)
class Edition:
    """All constants of measuring and grading.

    Attributes:
        name: under which it is asked for.
        date: on which it was made.
        plan: how models are measured, and the statistics of it.
        thresholds: what the findings allow.
        grading: from figures to a letter.
        digest: hex SHA-256 of the bytes of the edition's file.
        constants: the same constants as plain values, as the file holds them.
    """

    name: str
    date: str
    plan: MeasuringRules
    thresholds: Thresholds
    grading: Grading
    digest: str
    constants: Mapping[str, Any] = field(repr=False, compare=False)


def editions() -> list[str]:
    """Names of all editions that this version knows, oldest first."""
    return sorted(_files())


def load_edition(name: str = "2026") -> Edition:
    """Load an edition by name.

    Raises:
        UsageError: there is no edition of that name.
        CertificateError: the edition's file is malformed (a damaged installation).
    """
    files = _files()
    if name not in files:
        raise unknown_name("edition", name, files)
    return parse_edition(files[name], name)


@functools.lru_cache(maxsize=8)
def parse_edition(content: bytes, name: str) -> Edition:
    """Parse the bytes of an edition's file.

    Args:
        content: YAML with name, date and the sections plan, thresholds and grading.
        name: name under which it was asked for; must be the name that stands in it.

    Raises:
        CertificateError: it is not YAML, a constant is missing, unknown or of the wrong type, or the name differs.
    """
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise CertificateError(f"Edition {name} is not readable YAML: {error}") from error
    _require_keys(name, values, {"name", "date", "plan", "thresholds", "grading"})
    edition = Edition(
        name=_typed(name, "name", "str", values["name"]),
        date=_typed(name, "date", "str", values["date"]),
        plan=_section(name, MeasuringRules, values["plan"], edition=name),
        thresholds=_section(name, Thresholds, values["thresholds"]),
        grading=_section(name, Grading, values["grading"]),
        digest=hashlib.sha256(content).hexdigest(),
        constants=MappingProxyType(values),
    )
    _check(edition, name)
    return edition


def _section(name: str, kind: type[Section], values: Any, **given: str) -> Section:
    """One section, with exactly the constants of its class."""
    kinds = {f.name: str(f.type) for f in fields(kind) if f.name not in given}  # type: ignore[arg-type]
    _require_keys(name, values, set(kinds))
    return kind(**given, **{key: _typed(name, key, kinds[key], value) for key, value in values.items()})


def _require_keys(name: str, values: Any, keys: set[str]) -> None:
    if not isinstance(values, dict):
        raise CertificateError(f"Edition {name} should be a mapping of constants, found {type(values).__name__}.")
    if differing := sorted(set(values) ^ keys, key=str):
        raise CertificateError(f"Edition {name}: constant '{differing[0]}' is missing or unknown.")


def _files() -> dict[str, bytes]:
    folder = resources.files("certify.assessments.efficiency") / "editions"
    return {
        entry.name.removesuffix(".yaml"): entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }


def _typed(edition: str, key: str, kind: str, value: Any) -> Any:
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind == "float" and _is_number(value):
        return float(value)
    if kind.startswith("Mapping") and isinstance(value, dict) and all(map(_is_number, value.values())):
        return MappingProxyType({str(item): float(number) for item, number in value.items()})
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise CertificateError(f"Edition {edition}: constant '{key}' should be {kind}, found {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _check(edition: Edition, name: str) -> None:
    grading = edition.grading
    lowest = list(grading.letters.values())
    wrong = {
        f"its name is '{edition.name}'": edition.name != name,
        "confidence must lie between 0 and 1": not 0 < edition.plan.confidence < 1,
        "assumed_autocorrelation must lie below 1": edition.plan.assumed_autocorrelation >= 1,
        "letters must fall in score": not lowest or lowest != sorted(set(lowest), reverse=True),
        "best_modelled_letter must be one of the letters": edition.grading.best_modelled_letter
        not in edition.grading.letters,
        "window_s and shortest_window_s need a default": not (
            "default" in edition.plan.window_s and "default" in edition.plan.shortest_window_s
        ),
    }
    if found := [sentence for sentence, is_wrong in wrong.items() if is_wrong]:
        raise CertificateError(f"Edition {name}: {found[0]}.")
