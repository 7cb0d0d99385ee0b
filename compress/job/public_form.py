"""Parameters of private passes that only the auditor's lineage states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HIDDEN = ("sampling_rate",)
"""Parameters that are withheld if neighbouring data sets differ by one record more."""


def public_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the public parameters of a pass: together with the expected batch, q would reveal the number of records.

    Args:
        config: every parameter.

    Example:
        >>> public_config({"sampling_rate": 0.2, "adjacency": "add-remove"})
        {'adjacency': 'add-remove'}
    """
    if config.get("adjacency") != "add-remove":
        return config
    return {name: value for name, value in config.items() if name not in HIDDEN}


def is_hidden(setting: str) -> bool:
    """Return whether a setting, ``PASS.PARAMETER=VALUE``, sets a withheld parameter.

    Example:
        >>> is_hidden("dp_head.sampling_rate=0.3"), is_hidden("dp_head.steps=10")
        (True, False)
    """
    return setting.partition("=")[0].strip().rpartition(".")[2] in HIDDEN
