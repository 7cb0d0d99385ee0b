"""Energy or time predicted by the passes from their cost tables, next to the certificate's measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certify.assessments.efficiency.figures import Figures
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.present.numbers import rounded

PREDICTED = {"energy_ratio": ("energy", Figures.energy_ratio), "latency_ratio": ("time", Figures.duration_ratio)}
"""Predictions possible in ``done.predicted`` of a lineage row: their name, and the figure that measures them."""
DIGITS = 3


def predictions(lineage: Mapping[str, Any] | None, figures: Mapping[str, Estimate]) -> tuple[str, ...]:
    """Return a sentence per prediction in a lineage: the share of the original's cost, predicted and measured.

    It states the number of threads for which a prediction was made, since a certificate chooses its own.

    Args:
        lineage: lineage of the model; None if it is unknown.
        figures: figures of its certificate, by name.

    Example:
        >>> share = Estimate.exact(0.4, "1", "table").to_json()
        >>> row = {"pass": "structured_prune", "done": {"predicted": {"energy_ratio": share}}}
        >>> predictions({"rows": [row]}, {"energy_ratio": Estimate(0.42, 0.41, 0.43, "1", 9, "windows")})
        ('structured_prune predicted 0.400 (0.400 to 0.400) of the original energy; measured: 0.420 (0.410 to 0.430).',)
    """
    rows = [] if lineage is None else lineage["rows"]
    found = []
    for row in rows:
        predicted = row["done"].get("predicted")
        for key, (what, name) in PREDICTED.items():
            # A lineage is written by the maker and not derived, so a malformed prediction is left out.
            share = _estimate(predicted, key)
            if share is not None:
                figure, where = figures.get(name), f"of the original {what}{_with_threads(predicted)}"
                measured = "not measured" if figure is None else f"measured: {_text(figure)}"
                found.append(f"{row['pass']} predicted {_text(share)} {where}; {measured}.")
    return tuple(found)


def _text(share: Estimate) -> str:
    value, low, high = (rounded(each, DIGITS) for each in (share.value, share.low, share.high))
    return f"{value} ({low} to {high})"


def _with_threads(predicted: Mapping[str, Any]) -> str:
    threads = predicted.get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        return ""
    return f" with {threads} thread{'s' if threads > 1 else ''}"


def _estimate(values: object, key: str) -> Estimate | None:
    """Return the prediction; None if there is none, or if what the maker wrote is malformed."""
    if not isinstance(values, Mapping) or not isinstance(values.get(key), Mapping):
        return None
    try:
        return Estimate.from_json(values[key])
    except CertificateError:
        return None
