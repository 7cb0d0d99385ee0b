"""A worker's report of its own process: how it was started, and which libraries are loaded (proc(5))."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from certify.core.surroundings import CUSTOMIZED

_NO_FILES = ("/memfd:", "/dev/", "/SYSV")


def started() -> dict[str, Any]:
    """Return how this process was started, with its initial environment, before libraries changed it."""
    entries = (_text("environ") or "\0".join(os.environ)).split("\0")
    return {
        "isolated": bool(sys.flags.isolated and sys.flags.no_site),
        "variables": sorted(entry.partition("=")[0] for entry in entries if entry),
        "customized": [name for name in CUSTOMIZED if name in sys.modules],
    }


def loaded() -> list[str]:
    """Return the paths of the executable files mapped into this process: its shared libraries and the interpreter.

    Empty if the system has no /proc (macOS), which makes their guard unknown.
    """
    return executables(_text("maps"))


def peak_memory_bytes() -> int:
    """Return the peak resident memory of the process (VmHWM of proc(5), else getrusage, in bytes on macOS)."""
    for line in _text("status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _text(name: str) -> str:
    """Return the content of a file of this process in /proc; empty if there is none."""
    path = Path("/proc/self", name)
    return path.read_text(errors="replace") if path.is_file() else ""


def executables(maps: str) -> list[str]:
    r"""Return the paths of executable mappings in the lines of ``/proc/PID/maps``.

    Example:
        >>> executables("7f00-7f01 r-xp 00000000 08:01 12  /usr/lib/libm.so.6\n7f02-7f03 rw-p 00000000 00:00 0")
        ['/usr/lib/libm.so.6']
    """
    # The path is the sixth field and may contain spaces, so it is not split.
    parts = (line.split(maxsplit=5) for line in maps.splitlines())
    found = {fields[5] for fields in parts if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/")}
    return sorted(path for path in found if not path.startswith(_NO_FILES))
