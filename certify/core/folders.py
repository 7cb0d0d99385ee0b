"""The user's folders: what may be made again, what is remembered, and keys.

They lie where the system keeps such things (``~/.cache/leanmark`` and XDG_CACHE_HOME on Linux, ``~/Library`` on macOS).
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir, user_config_dir, user_state_dir

NAME = "leanmark"


def cache_folder() -> Path:
    """Downloads, trained baselines, the yardstick's file: LEANMARK_CACHE_HOME, else in the user's cache."""
    return Path(os.environ.get("LEANMARK_CACHE_HOME") or user_cache_dir(NAME))


def config_folder() -> Path:
    """Keys: LEANMARK_CONFIG_HOME, else in the user's configuration."""
    return Path(os.environ.get("LEANMARK_CONFIG_HOME") or user_config_dir(NAME))


def state_folder() -> Path:
    """The log of attempts: LEANMARK_STATE_HOME, else in the user's state."""
    return Path(os.environ.get("LEANMARK_STATE_HOME") or user_state_dir(NAME))
