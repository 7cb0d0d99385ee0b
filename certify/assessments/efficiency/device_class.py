"""Class of a device: everything recorded about it that decides which kernels run on it, and nothing else.

A letter holds only on such a device: one job used 0.097 of the baseline's energy on one processor and 0.186 on another
one with faster floating-point kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ON_PROCESSOR = frozenset({"onnxruntime-cpu", "openvino", "openvino-bf16"})
"""Built-in runtimes that compute on the processor, whatever accelerators the machine has."""

DOT_PRODUCTS = {
    "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI", "amx_int8": "AMX", "asimddp": "DotProd", "i8mm": "I8MM",
}  # fmt: skip
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE"}
"""Named if none of the above is available, widest first."""

_DECORATION = re.compile(r"\((?:r|tm|c)\)|@.*|\b(?:\d+-core|cpu|processor)\b", re.IGNORECASE)


def on_accelerator(device: Mapping[str, Any], runtime: str) -> bool:
    """Return whether an accelerator computed, so that the number of CPU threads hardly matters."""
    return runtime not in ON_PROCESSOR and bool(device.get("accelerator"))


def device_class(device: Mapping[str, Any], workload: Mapping[str, Any]) -> str:
    """Return the device that computed, the instructions available to its kernels, and the candidate's threads.

    Args:
        device: recorded facts of the device; missing ones are left out.
        workload: fields of the workload.

    Example:
        >>> xeon = {"processor": "Intel(R) Xeon(R) CPU @ 2.30GHz", "instructions": ["amx_int8", "avx512_vnni"]}
        >>> device_class(xeon, {"runtime": "onnxruntime-cpu", "threads": 1, "candidate_threads": 2})
        'Intel Xeon (AVX512-VNNI, AMX), 2 threads (baseline 1)'
    """
    if on_accelerator(device, workload["runtime"]):
        return str(device["accelerator"])
    bare = " ".join(_DECORATION.sub(" ", str(device.get("processor") or "")).split())
    known = ", ".join(_instructions(device.get("instructions")))
    return f"{bare or 'an unnamed processor'}{known and f' ({known})'}, {threads(workload)}"


def threads(workload: Mapping[str, Any]) -> str:
    """Return the candidate's number of threads, and the baseline's if it differs.

    Example:
        >>> threads({"threads": 1, "candidate_threads": 2})
        '2 threads (baseline 1)'
    """
    before, after = workload["threads"], workload["candidate_threads"]
    counted = f"{after} thread{'' if after == 1 else 's'}"
    return counted if before == after else f"{counted} (baseline {before})"


def _instructions(recorded: object) -> list[str]:
    found = {flag for flag in recorded if isinstance(flag, str)} if isinstance(recorded, list | tuple) else set()
    if "avx512_vnni" in found:
        found.discard("avx_vnni")
    named = [name for flag, name in DOT_PRODUCTS.items() if flag in found]
    return named or [name for flag, name in VECTORS.items() if flag in found][:1]
