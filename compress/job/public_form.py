"""Parameters of private passes that only the auditor's lineage states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.private.account import PRIVATE

HIDDEN = ("sampling_rate",)
"""Parameters that are withheld if neighbouring data sets differ by one record more."""
FOLLOWING = ("noise",)
"""Results that are withheld likewise: q follows from epsilon, the steps and the noise."""


def public_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the public parameters of a pass: together with the expected batch, q would reveal the number of records.

    Args:
        config: every parameter.

    Example:
        >>> public_config({"sampling_rate": 0.2, "adjacency": "add-remove"})
        {'adjacency': 'add-remove'}
    """
    return _without(config, HIDDEN) if _hides_number(config) else config


def public_results(done: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the public results of a pass.

    Args:
        done: every result.
        config: every parameter.

    Example:
        >>> public_results({"noise": 2.4, "epsilon": 8.0}, {"adjacency": "add-remove"})
        {'epsilon': 8.0}
    """
    return _without(done, (PRIVATE, *FOLLOWING) if _hides_number(config) else (PRIVATE,))


def _hides_number(config: Mapping[str, Any]) -> bool:
    return config.get("adjacency") == "add-remove"


def _without(values: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def is_hidden(setting: str) -> bool:
    """Return whether a setting, ``PASS.PARAMETER=VALUE``, sets a withheld parameter.

    Example:
        >>> is_hidden("dp_head.sampling_rate=0.3"), is_hidden("dp_head.steps=10")
        (True, False)
    """
    return setting.partition("=")[0].strip().rpartition(".")[2] in HIDDEN
