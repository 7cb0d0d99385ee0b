"""The user's folders: what may be made again, what is remembered, and keys."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Downloads, trained baselines, the yardstick's file: LEANMARK_CACHE_HOME, else ``leanmark`` in XDG_CACHE_HOME."""
    return _user_folder("CACHE", ".cache")


def config_folder() -> Path:
    """Keys: LEANMARK_CONFIG_HOME, else ``leanmark`` in XDG_CONFIG_HOME."""
    return _user_folder("CONFIG", ".config")


def state_folder() -> Path:
    """The log of attempts: LEANMARK_STATE_HOME, else ``leanmark`` in XDG_STATE_HOME."""
    return _user_folder("STATE", ".local/state")


def _user_folder(kind: str, default: str) -> Path:
    if own := os.environ.get(f"LEANMARK_{kind}_HOME"):
        return Path(own)
    return Path(os.environ.get(f"XDG_{kind}_HOME") or Path.home() / default) / "leanmark"
