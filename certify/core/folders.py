"""The user's folders for cache, configuration and state.

They follow the conventions of the system (``~/.cache/leanmark`` and XDG_CACHE_HOME on Linux, ``~/Library`` on macOS).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir, user_config_dir, user_state_dir

NAME = "leanmark"
_ABSOLUTE = re.compile(r"(?<![^:=,])(?:[A-Za-z]:)?(?:/(?!/)|\\)[^,]*")


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


def published(value: Any) -> Any:
    """Shorten absolute paths, in a string or in nested values, so that published files name no folder of this machine.

    A path inside the working folder becomes relative to it; of any other, the last part stays. Digests identify files.

    Example:
        >>> published({"data": "npz:train=/mnt/lab7/a.npz,test=/mnt/lab7/b.npz", "seed": 1})
        {'data': 'npz:train=a.npz,test=b.npz', 'seed': 1}
    """
    if isinstance(value, str):
        return _ABSOLUTE.sub(lambda found: _published_path(found[0]), value)
    if isinstance(value, Mapping):
        return {name: published(each) for name, each in value.items()}
    return [published(each) for each in value] if isinstance(value, (list, tuple)) else value


def _published_path(path: str) -> str:
    if not path.startswith("/") or os.sep != "/":  # of Windows
        return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    with contextlib.suppress(ValueError, OSError):  # outside the working folder, or that is gone
        return str(Path(path).relative_to(Path.cwd()))
    return Path(path).name
