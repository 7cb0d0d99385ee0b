"""Figures and sentences that the formats share."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import MeterFacts, Workload

_LARGEST_WHOLE = 1e21
"""From here on canonical JSON writes whole numbers with an exponent."""


def number(value: float) -> float:
    """A number as canonical JSON has it: whole ones without a decimal point."""
    return int(value) if float(value).is_integer() and abs(value) < _LARGEST_WHOLE else value


def figure(value: Any) -> str:
    """A JSON value as text, with every digit that it has; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def signed_fields(part: Workload | MeterFacts | Estimate) -> dict[str, Any]:
    """A part of the claims as it was signed: JSON values by name, in the order of canonical JSON."""
    if not isinstance(part, Estimate):
        return dict(sorted(asdict(part).items()))
    fields = sorted(part.to_json().items())
    return {name: number(value) if isinstance(value, float) else value for name, value in fields}


def subject_matter(claims: EfficiencyClaims) -> str:
    """What the model classifies, ``image`` or ``text``.

    A preprocessing contract of tokens says so; one without a kind is of images.
    """
    return "image" if claims.preprocess.get("kind") in (None, "image") else "text"


def levelled(name: str, estimate: Estimate) -> str:
    """Name of a figure and, where it is one of energy, how directly that was observed."""
    return name if estimate.evidence is EvidenceLevel.DIRECT else f"{name} ({estimate.evidence.value})"


def unmetered_sentence(meter: MeterFacts) -> str:
    """For a reader of energy figures that no meter read."""
    error = "" if meter.relative_error is None else f" (x or / {figure(meter.relative_error)} in absolute joules)"
    kind = "modelled" if meter.level == "modelled" else "estimated by a stand-in"
    return (
        f"All energy figures are {kind} by {meter.name}, not metered; the model's own error{error} is in no interval."
    )
