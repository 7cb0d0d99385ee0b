"""Facts of the machine for the certificate, and pinning of a worker's threads to processors."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError

KERNEL_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve", "avx512_bf16", "amx_bf16",
    "bf16",
)  # fmt: skip
"""Flags of /proc/cpuinfo that determine the speed of integer and bfloat16 kernels."""
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def require_measuring() -> None:
    """Check that this system can measure, before any work is done.

    Raises:
        UsageError: it cannot; the message says what works here.
    """
    if os.name == "nt":
        raise UsageError(
            "Measuring requires Linux or macOS (with the extra 'zeus' for joules); on Windows leanmark can verify, "
            "audit, gate, report, make keys, and compress with --no-measure. Measure in WSL 2, or on another machine."
        )


def allowed_processors() -> list[int]:
    """Return the logical processors that this process may use, or all if the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(cores: Iterable[int]) -> None:
    """Pin this thread, and those that it starts, to some processors; do nothing if the system has no call for it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores))


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """Return facts of the machine by name, as JSON values that do not identify its owner.

    ``integer_dot_product`` states whether one instruction multiplies 8-bit integers and accumulates in 32 bits (VNNI on
    x86, DotProd on ARM); without it, products of some int8 kernels saturate at 16 bits.
    """
    cpu, flags = _cpuinfo(root), processor_flags(root)
    return {
        "processor": cpu.get("model name", platform.machine()),
        "architecture": platform.machine(),
        "processors": os.cpu_count() or 1,
        "processors_allowed": len(allowed_processors()),
        "memory_bytes": _memory_bytes(root),
        "system": platform.system(),
        "kernel": platform.release(),
        "virtualisation": _virtualisation(root, flags),
        "instructions": sorted(flags.intersection(KERNEL_FLAGS)),
        "integer_dot_product": bool(flags & DOT_PRODUCTS),
    }


def processor_flags(root: Path = Path("/")) -> set[str]:
    """Return the flags of the first processor, as named in /proc/cpuinfo."""
    cpu = _cpuinfo(root)
    # x86 calls them flags, ARM Features.
    return set(cpu.get("flags", cpu.get("Features", "")).split())


def cores_for(threads: int, root: Path = Path("/")) -> tuple[int, ...]:
    """Return logical processors for a number of threads: distinct cores first, then their sibling threads.

    With more threads than processors, processors are reused in turn.
    """
    allowed = allowed_processors()
    # Two threads on one core compete for its units, so siblings come last.
    ordered = sorted(allowed, key=lambda cpu: (_place_among_siblings(cpu, root), cpu))
    return tuple(ordered[i % len(ordered)] for i in range(threads))


def thread_numbers() -> tuple[int, ...]:
    """Return numbers of threads to try for the baseline: 1, half of the allowed processors (if at least 4), all."""
    allowed = len(allowed_processors())
    return tuple(sorted({1, allowed, allowed // 2 if allowed >= 4 else 1}))


def threads_to_try(wanted: int | None, on_accelerator: bool) -> tuple[int, ...]:
    """Return the numbers of threads to try for a model.

    Args:
        wanted: number set by the user, which is then the only one.
        on_accelerator: whether the processor only waits for an accelerator; the number of waiting threads makes no
            measurable difference, so one number is enough.

    Example:
        >>> threads_to_try(None, on_accelerator=True), threads_to_try(3, on_accelerator=True)
        ((1,), (3,))
    """
    if on_accelerator:
        return (wanted or 1,)
    return tuple(sorted({*thread_numbers(), *([] if wanted is None else [wanted])}))


def _place_among_siblings(cpu: int, root: Path) -> int:
    text = _text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    siblings: list[int] = []
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        siblings += range(int(low), int(high or low) + 1)
    return siblings.index(cpu) if cpu in siblings else 0


def _cpuinfo(root: Path) -> dict[str, str]:
    """Return the fields of the first processor."""
    fields = {}
    for line in _text(root / "proc/cpuinfo").split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields


def _memory_bytes(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _virtualisation(root: Path, flags: set[str]) -> str:
    """Return what is known of a hypervisor: its product name, ``yes``, or ``none seen``."""
    product = _text(root / "sys/class/dmi/id/product_name")
    if "hypervisor" in flags:
        # Only if the flag is set: bare-metal machines have a product name too.
        return product or _text(root / "sys/hypervisor/type") or "yes"
    return "none seen"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not every system has every file; the value is then unknown
        return ""
