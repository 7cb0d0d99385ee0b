"""Figures as a pandas DataFrame; pandas is imported on demand."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from certify.core.errors import UsageError
from certify.core.estimate import Estimate


def dataframe(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Return a ``pandas.DataFrame`` of rows.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        pandas: Any = importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise UsageError("to_dataframe() requires pandas, which is not installed. Run: pip install pandas.") from error
    return pandas.DataFrame(list(rows))


def figure_rows(estimates: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """Return a row per figure: name, value, interval, unit, number of observations, evidence level and method."""
    return [
        {"figure": name, **vars(estimate), "evidence": estimate.evidence.value} for name, estimate in estimates.items()
    ]
