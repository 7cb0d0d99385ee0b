"""Editions of the grade: dated constants from the package's YAML files, never edited after release."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from certify.assessment.editions import edition_files
from certify.core.errors import CertificateError, UsageError
from certify.core.measuring_rules import Amount, Count, MeasuringRules
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import parse_document

PACKAGE = "certify.assessments.efficiency"


@dataclass(frozen=True)
class Grading:
    """Constants from a ratio and a loss to a letter; the YAML file explains each."""

    energy_weight: Amount
    loss_weight: Amount
    letters: Mapping[str, Amount]
    last_letter: str
    best_modelled_letter: str
    largest_loss_percent: Amount
    stated_loss_percent: Amount
    may_be_unknown: tuple[str, ...]

    def letter(self, score_db: float) -> str:
        """Return the letter of a score in decibels, before any cap."""
        return next((letter for letter, lowest in self.letters.items() if score_db >= lowest), self.last_letter)


@dataclass(frozen=True)
class Thresholds:
    """Limits of the findings."""

    time_limit_used: Amount
    power_tolerance: Amount
    throttled_windows_share: Amount
    foreign_cpu_share: Amount
    steal_share: Amount
    throttled_time_share: Amount
    temperature_drift_c: Amount
    idle_workers_cpu_share: Amount
    settings_tolerance: Amount
    fused_share: Amount
    zero_channels_excess: Amount
    baseline_padding: Amount
    baseline_zero_channels: Amount
    constant_inputs_share: Amount
    distinct_inputs: Count
    input_std: Amount
    input_correlation: Amount
    input_repetition: Amount
    minimum_test_samples: Count
    varying_work: Amount
    near_tie: Amount
    unstable_share: Amount
    margin_drift: Amount
    changed_loss: Amount
    changed_answers: Amount
    baseline_same_on_changed: Amount
    changed_cost: Amount
    fresh_loss: Amount
    minimum_fresh_samples: Count
    near_duplicates_share: Amount
    overlap_s: Amount
    clock_tick_s: Amount
    cpu_time_excess: Amount
    least_cpu_share: Amount
    equal_durations_share: Amount
    latency_factor: Amount
    joules_tolerance: Amount
    linear_joules_tolerance: Amount
    idle_tolerance: Amount


@dataclass(frozen=True)
class _Sections:
    """Sections of the file."""

    name: str
    date: str
    plan: MeasuringRules
    thresholds: Thresholds
    grading: Grading


@dataclass(frozen=True)
class Edition(_Sections):
    """All constants of measuring and grading.

    Attributes:
        name: name of the edition.
        date: date of the edition.
        plan: how models are measured, with the statistics.
        thresholds: limits of the findings.
        grading: constants from figures to a letter.
        digest: hex SHA-256 of the edition's file.
        constants: the same constants as plain values.
    """

    digest: str
    constants: Mapping[str, Any] = field(repr=False, compare=False)


def editions() -> list[str]:
    """Return the names of all editions known to this version, oldest first.

    Example:
        >>> "2026" in editions()
        True
    """
    return sorted(edition_files(PACKAGE))


def load_edition(name: str = "2026") -> Edition:
    """Load an edition by name.

    Raises:
        UsageError: the edition is unknown.
        CertificateError: the edition's file is malformed (a damaged installation).

    Example:
        >>> load_edition("2026").grading.letter(6.5)
        'C'
    """
    files = edition_files(PACKAGE)
    if name not in files:
        raise unknown_name("edition", name, files)
    return parse_edition(files[name], name)


@functools.lru_cache(maxsize=8)
def parse_edition(content: bytes, name: str) -> Edition:
    """Parse the bytes of an edition's file.

    Args:
        content: YAML with name, date and the sections plan, thresholds and grading.
        name: requested name, which must be the name in the file.

    Raises:
        CertificateError: it is not YAML, a constant is missing, unknown or of the wrong type, or the name differs.
    """
    try:
        document = parse_document(content, f"Edition {name}")
        plan = document.values.get("plan")
        # The rules name their edition; a plan that states one itself is refused in _check.
        named = {"plan": {**plan, "edition": name}} if isinstance(plan, dict) else {}
        sections = validated(_Sections, {**document.values, **named}, "the edition", document.place)
    except UsageError as error:
        raise CertificateError(str(error)) from error
    digest = hashlib.sha256(content).hexdigest()
    edition = Edition(**vars(sections), digest=digest, constants=MappingProxyType(document.values))
    _check(edition, name)
    return edition


def _check(edition: Edition, name: str) -> None:
    grading = edition.grading
    lowest = list(grading.letters.values())
    wrong = {
        f"its name is '{edition.name}'": edition.name != name,
        "Unknown key of plan of the edition 'edition'": "edition" in edition.constants["plan"],
        "letters must fall in score": not lowest or lowest != sorted(set(lowest), reverse=True),
        "best_modelled_letter must be one of the letters": edition.grading.best_modelled_letter
        not in edition.grading.letters,
        "window_s and shortest_window_s need a default": not (
            "default" in edition.plan.window_s and "default" in edition.plan.shortest_window_s
        ),
    }
    if found := [sentence for sentence, is_wrong in wrong.items() if is_wrong]:
        raise CertificateError(f"Edition {name}: {found[0]}.")
