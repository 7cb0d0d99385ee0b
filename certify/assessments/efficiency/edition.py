"""Editions of the grade: dated constants, read from the package's own YAML, never edited after release."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

from certify.core.errors import CertificateError
from certify.core.suggest import unknown_name


@dataclass(frozen=True)
class Edition:
    """All constants that measuring and grading use; what each means stands beside it in the YAML file.

    Attributes:
        digest: hex SHA-256 of the bytes of the edition's file.
        constants: the same constants as plain values by name, as the file holds them.
    """

    name: str
    date: str
    confidence: float
    energy_weight: float
    loss_weight: float
    letters: Mapping[str, float]
    last_letter: str
    best_modelled_letter: str
    largest_loss_percent: float
    stated_loss_percent: float
    batch_factor: float
    assumed_autocorrelation: float
    minimum_blocks: int
    pilot_blocks: int
    maximum_blocks: int
    null_blocks: int
    largest_null_blocks: int
    null_time_s: float
    null_retries: int
    settings_windows: int
    yardstick_windows: int
    window_s: Mapping[str, float]
    longest_window_s: float
    shortest_window_s: Mapping[str, float]
    latency_calls: int
    latency_time_s: float
    time_limit_used: float
    may_be_unknown: tuple[str, ...]
    null_tolerance: float
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
    digest: str
    constants: Mapping[str, Any] = field(repr=False, compare=False)

    def window_seconds(self, meter: str | None) -> float:
        """How long a window lasts at least, in seconds, with a meter of that name (None: no meter)."""
        return _of_meter(self.window_s, meter)

    def shortest_window_seconds(self, meter: str | None) -> float:
        """Length in seconds below which a window is too short for a meter of that name."""
        return _of_meter(self.shortest_window_s, meter)

    def letter(self, score_db: float) -> str:
        """The letter of a score in decibels, before any cap."""
        return next((letter for letter, lowest in self.letters.items() if score_db >= lowest), self.last_letter)


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
        content: YAML, a flat mapping with exactly the constants of :class:`Edition`.
        name: name under which it was asked for; must be the name that stands in it.

    Raises:
        CertificateError: it is not YAML, a constant is missing, unknown or of the wrong type, or the name differs.
    """
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise CertificateError(f"Edition {name} is not readable YAML: {error}") from error
    if not isinstance(values, dict):
        raise CertificateError(f"Edition {name} should be a mapping of constants, found {type(values).__name__}.")
    kinds = {f.name: str(f.type) for f in fields(Edition) if f.name not in ("digest", "constants")}
    if differing := sorted(set(values) ^ set(kinds), key=str):
        raise CertificateError(f"Edition {name}: constant '{differing[0]}' is missing or unknown.")
    typed = {key: _typed(name, key, kinds[key], value) for key, value in values.items()}
    edition = Edition(**typed, digest=hashlib.sha256(content).hexdigest(), constants=MappingProxyType(values))
    _check(edition, name)
    return edition


def _of_meter(lengths: Mapping[str, float], meter: str | None) -> float:
    """The longest that a part of a sum (``nvml+rapl-powercap``) or a recorded meter (``replay:nvml``) asks for."""
    parts = (meter or "default").removeprefix("replay:").split("+")
    return max(lengths.get(part, lengths["default"]) for part in parts)


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
    lowest = list(edition.letters.values())
    wrong = {
        f"its name is '{edition.name}'": edition.name != name,
        "confidence must lie between 0 and 1": not 0 < edition.confidence < 1,
        "assumed_autocorrelation must lie below 1": edition.assumed_autocorrelation >= 1,
        "letters must fall in score": not lowest or lowest != sorted(set(lowest), reverse=True),
        "best_modelled_letter must be one of the letters": edition.best_modelled_letter not in edition.letters,
        "window_s and shortest_window_s need a default": not (
            "default" in edition.window_s and "default" in edition.shortest_window_s
        ),
    }
    if found := [sentence for sentence, is_wrong in wrong.items() if is_wrong]:
        raise CertificateError(f"Edition {name}: {found[0]}.")
