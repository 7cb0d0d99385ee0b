"""Libraries of the extras ``search`` and ``ray``, loaded when a search needs them."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from certify.core.errors import MissingExtra


def optuna() -> Any:
    """Return Optuna, with its logging silenced.

    Raises:
        MissingExtra: it is not installed.
    """
    module = _load("optuna", "search")
    module.logging.set_verbosity(module.logging.ERROR)
    warnings.filterwarnings("ignore", category=module.exceptions.ExperimentalWarning)
    return module


def ray() -> Any:
    """Return Ray.

    Raises:
        MissingExtra: it is not installed.
    """
    return _load("ray", "ray")


def _load(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name:
            raise
        raise MissingExtra(f"leanmark search ({name})", extra) from error
