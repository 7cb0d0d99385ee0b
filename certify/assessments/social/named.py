"""Figure with its name in files and its description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from certify.core.estimate import Estimate
from certify.core.statistics.gaps import Bounded

LONGEST_STEM = 24


@dataclass(frozen=True)
class Named:
    """Figure with its names.

    Attributes:
        name: name in files: lower-case letters, digits and ``_``.
        words: description for display.
        estimate: estimate of the figure.
    """

    name: str
    words: str
    estimate: Estimate


def share(found: Bounded, n: int, method: str) -> Estimate:
    """Return a share, 0 to 1, or a ratio."""
    return Estimate(found.value, found.low, found.high, "1", n, method)


def points(found: Bounded, n: int, method: str) -> Estimate:
    """Return a difference of shares, in points."""
    return Estimate(100 * found.value, 100 * found.low, 100 * found.high, "points", n, method)


def stems(names: Sequence[str]) -> dict[str, str]:
    """Return unique prefixes of figure names for the names of columns.

    Example:
        >>> stems(["sex", "Age group", "sex:Age group", "SEX"])
        {'sex': 'sex', 'Age group': 'age_group', 'sex:Age group': 'sex_by_age_group', 'SEX': 'sex_4'}
    """
    found: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        stem = re.sub(r"[^a-z0-9]+", "_", name.lower().replace(":", "_by_")).strip("_")[:LONGEST_STEM].strip("_")
        # A stem that begins with "cell" would be taken for the figure of a cell.
        if not stem or not stem[0].isalpha() or stem.startswith("cell"):
            stem = f"groups_{stem}".strip("_")
        # Two names may be cut to the same stem.
        found[name] = f"{stem}_{number}" if stem in found.values() else stem
    return found
