"""Figures and sentences shared by the formats."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import MeterFacts, Workload

_LARGEST_WHOLE = 1e21
"""From here on canonical JSON writes integers with an exponent."""


def number(value: float) -> float:
    """Return a number as in canonical JSON: integers without a decimal point.

    Example:
        >>> number(2.0), number(0.5)
        (2, 0.5)
    """
    # Canonical JSON writes 3.0 as 3, and an export must not show more digits than were signed.
    return int(value) if float(value).is_integer() and abs(value) < _LARGEST_WHOLE else value


def figure(value: Any) -> str:
    """Return a JSON value as text with all its digits; strings are unchanged.

    Example:
        >>> figure(0.1 + 0.2), figure("text")
        ('0.30000000000000004', 'text')
    """
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def signed_fields(part: Workload | MeterFacts | Estimate) -> dict[str, Any]:
    """Return a part of the claims as signed: JSON values by name, in the order of canonical JSON."""
    if not isinstance(part, Estimate):
        return dict(sorted(asdict(part).items()))
    fields = sorted(part.to_json().items())
    return {name: number(value) if isinstance(value, float) else value for name, value in fields}


def subject_matter(claims: EfficiencyClaims) -> str:
    """Return what the model classifies, ``image`` or ``text``.

    A preprocessing contract of tokens states it; one without a kind is for images.
    """
    return "image" if claims.preprocess.get("kind") in (None, "image") else "text"


def levelled(name: str, estimate: Estimate) -> str:
    """Return the name of a figure, with its evidence level if it is an energy figure."""
    return name if estimate.evidence is EvidenceLevel.DIRECT else f"{name} ({estimate.evidence.value})"


def unmetered_sentence(meter: MeterFacts) -> str:
    """Return a warning about energy figures that no meter read."""
    error = "" if meter.relative_error is None else f" (x or / {figure(meter.relative_error)} in absolute joules)"
    kind = "modelled" if meter.level == "modelled" else "estimated by a proxy"
    return (
        f"All energy figures are {kind} by {meter.name}, not metered; intervals exclude the model's own error{error}."
    )
