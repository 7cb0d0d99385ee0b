"""What the public lineage states of private data: parameters and results without what only an auditor may see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compress.private.account import PRIVATE

HIDDEN = ("sampling_rate",)
"""Parameters that are withheld if neighbouring data sets differ by one record more."""
SAMPLES = "samples"
"""Word in the names of results that count samples."""
SHARES = frozenset({"accuracy", "agreement", "loss"})
"""Words in the names of results that are shares of samples, or differences of two."""
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
    return without_numbers(_without(done, (PRIVATE, *FOLLOWING) if _hides_number(config) else (PRIVATE,)))


def public_share(share: float | None) -> float | None:
    """Return a share of samples in whole percents: an exact one would reveal how many samples it is a share of.

    Example:
        >>> public_share(45 / 47), public_share(None)
        (0.96, None)
    """
    return None if share is None else round(share, 2)


def without_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Remove numbers of samples from results, at any depth, and round shares of samples.

    Args:
        values: results by name.

    Example:
        >>> without_numbers({"calibration_samples": 45, "validation_accuracy": 45 / 47, "epochs_done": 3})
        {'validation_accuracy': 0.96, 'epochs_done': 3}
    """
    return {name: _public(name, value) for name, value in values.items() if SAMPLES not in name.split("_")}


def _public(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_numbers(value)
    if isinstance(value, list | tuple):
        return [_public(name, each) for each in value]
    words = name.split("_")
    if isinstance(value, float) and not SHARES.isdisjoint(words):
        return round(value, 0 if "percent" in words else 2)
    return value


def _hides_number(config: Mapping[str, Any]) -> bool:
    return config.get("adjacency") == "add-remove"


def _without(values: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def without_seed(words: str) -> str:
    """Remove the seed from a sentence about the origin of weights.

    Example:
        >>> without_seed("trained here on photos, seed 7, 3 epochs")
        'trained here on photos, 3 epochs'
    """
    return re.sub(r",? \(?seed \d+\)?", "", words)


def is_hidden(setting: str) -> bool:
    """Return whether a setting, ``PASS.PARAMETER=VALUE``, sets a withheld parameter.

    Example:
        >>> is_hidden("dp_head.sampling_rate=0.3"), is_hidden("dp_head.steps=10")
        (True, False)
    """
    return setting.partition("=")[0].strip().rpartition(".")[2] in HIDDEN
