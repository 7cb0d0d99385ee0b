"""Figures and sentences that the formats share."""

from __future__ import annotations

import json
from typing import Any

from certify.core.estimate import EvidenceLevel
from certify.export.source import Source


def figure(value: Any) -> str:
    """A JSON value as text, with every digit that it has; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


def subject_matter(source: Source) -> str:
    """What the model classifies, ``image`` or ``text``: a preprocessing contract of tokens says so, one without a kind
    is of images.
    """
    return "image" if source.look("preprocess", "kind") in (None, "image") else "text"


def levelled(estimate: str, level: str) -> str:
    """Name of an estimate and, where it is one of energy, how directly that was observed."""
    return estimate if level == EvidenceLevel.DIRECT.value else f"{estimate} ({level})"


def unmetered_sentence(source: Source) -> str:
    """For a reader of energy figures that no meter read."""
    meter, level = source.take("meter", "name"), source.take("meter", "level")
    factor = source.take("meter", "relative_error")
    error = "" if factor is None else f" (x or / {figure(factor)} in absolute joules)"
    kind = "modelled" if level == "modelled" else "estimated by a stand-in"
    return f"All energy figures are {kind} by {meter}, not metered; the model's own error{error} is in no interval."
