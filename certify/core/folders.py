"""The user's folders for cache, configuration and state.

They follow the conventions of the system (``~/.cache/leanmark`` and XDG_CACHE_HOME on Linux, ``~/Library`` on macOS).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from platformdirs import user_cache_dir, user_config_dir, user_state_dir

NAME = "leanmark"


def cache_folder() -> Path:
    """Return the folder for downloads, trained baselines and the yardstick: LEANMARK_CACHE_HOME or the user's cache."""
    return Path(os.environ.get("LEANMARK_CACHE_HOME") or user_cache_dir(NAME))


def config_folder() -> Path:
    """Return the folder for keys: LEANMARK_CONFIG_HOME or the user's configuration folder."""
    return Path(os.environ.get("LEANMARK_CONFIG_HOME") or user_config_dir(NAME))


def state_folder() -> Path:
    """Return the folder for the log of attempts: LEANMARK_STATE_HOME or the user's state folder."""
    return Path(os.environ.get("LEANMARK_STATE_HOME") or user_state_dir(NAME))


def without_home(place: str) -> str:
    """Replace the user's home folder by ``~`` where a path begins, so that published files do not name the user.

    Example:
        >>> without_home(f"npz:train={Path.home()}/a.npz,test=b.npz")
        'npz:train=~/a.npz,test=b.npz'
    """
    try:
        home = Path.home()
    except RuntimeError:  # the home folder is unknown
        return place
    if len(home.parts) < 2:  # the root folder
        return place
    return re.sub(rf"(?<![^:=,]){re.escape(str(home))}(?=[/\\,]|$)", "~", place)
