"""Memory that is still available to this process, on the machine and in its control group."""

from __future__ import annotations

import math
from pathlib import Path

MEMORY = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
"""Control group of this process inside a container (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max)."""


def free_bytes(memory: Path = MEMORY, group: Path = GROUP) -> float:
    """Return the bytes available without swapping; infinite if unknown.

    Args:
        memory: meminfo of proc(5).
        group: folder of the control group, whose limit applies if it is lower.

    Example:
        >>> free_bytes() > 0
        True
    """
    lines = memory.read_text().splitlines() if memory.is_file() else []
    found = [int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:")]
    return min([*found, _left(group)])


def _left(group: Path) -> float:
    """Return what remains of a control group's limit; infinite without a limit."""
    limit, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    return math.inf if limit is None or used is None else max(0.0, limit - used)


def _number(path: Path) -> float | None:
    text = path.read_text().strip() if path.is_file() else ""
    # Without a limit, memory.max contains the word "max".
    return float(text) if text.isdigit() else None
