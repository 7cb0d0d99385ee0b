"""Raw-data sheet: an aggregated summary with small counts suppressed, to judge whether data represent the users.

Counts are rounded down to a multiple of the least published count, and smaller ones are withheld, as is usual in
official statistics. This makes it harder to identify individuals, but it is not differential privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from certify.core.errors import UsageError
from certify.data.dataset import Dataset
from certify.data.split import Split

DECLARED = ("sampling", "proxy_labels", "gaps", "period", "language")
"""Fields that only the data holder can declare."""
WITHHELD = "withheld"
NOT_DECLARED = "not declared"


def raw_data_sheet(dataset: Dataset, declared: Mapping[str, Any], least: int = 10) -> dict[str, Any]:
    """Summarise data.

    Args:
        dataset: data whose samples may be read.
        declared: statements of the data holder, by a name of :data:`DECLARED`.
        least: least published count; smaller counts are withheld, others rounded down to a multiple of it.

    Returns:
        JSON values: counts by part and class, missing values of arrays, whether the classes are balanced, and the
        declarations.

    Raises:
        UsageError: an unknown field is declared.
        NotPermittedError: the use policy does not permit reading a part.
    """
    if unknown := sorted(set(declared) - set(DECLARED)):
        raise UsageError(f"'{unknown[0]}' is not a field of the sheet; declare {', '.join(DECLARED)}.")
    parts = {name: _part(split, dataset.classes, least) for name, split in dataset.parts.items()}
    words = {name: str(declared.get(name, NOT_DECLARED)) for name in DECLARED}
    return {"name": dataset.name, "kind": dataset.test.kind, "least_count": least, "parts": parts, "declared": words}


def _part(split: Split, classes: tuple[str, ...], least: int) -> dict[str, Any]:
    counts = np.bincount(split.labels, minlength=len(classes))
    by_class = {name: _rounded_down(int(count), least) for name, count in zip(classes, counts, strict=True)}
    smallest, largest = int(counts.min()), int(counts.max())
    hidden = WITHHELD in by_class.values()
    # a single withheld class could be computed from the total, so the total is withheld with it
    return {
        "samples": WITHHELD if hidden else _rounded_down(len(split), least),
        "classes": by_class,
        # Rounded to one decimal, because an exact ratio would reveal the counts.
        "smallest_to_largest_class": WITHHELD if hidden else round(smallest / largest, 1),
        "missing_values": _missing(split, least),
    }


def _missing(split: Split, least: int) -> Any:
    """Count samples with a NaN, by array; images and text have no missing values."""
    if split.kind != "arrays":
        return {}
    found = dict.fromkeys(split.fields, 0)
    for i in range(len(split)):
        for name, values in split.arrays(i).items():
            if values.dtype.kind == "f" and bool(np.isnan(values).any()):
                found[name] += 1
    return {name: 0 if count == 0 else _rounded_down(count, least) for name, count in found.items()}


def _rounded_down(count: int, least: int) -> int | str:
    return count - count % least if count >= least else WITHHELD
