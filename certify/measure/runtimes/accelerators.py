"""Facts of the accelerator that a runtime computes on, for the evidence."""

from __future__ import annotations

import os
from typing import Any


def nvidia() -> dict[str, Any]:
    """Return model, memory in bytes, power limit in watts, compute capability and driver of CUDA's first GPU.

    They are read through NVML (https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html). Values that the
    driver does not report are omitted; without a driver, all are.
    """
    import pynvml

    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        by_uuid = first.startswith(("GPU-", "MIG-"))
        device = pynvml.nvmlDeviceGetHandleByUUID(first) if by_uuid else pynvml.nvmlDeviceGetHandleByIndex(int(first))
        readers: dict[str, Any] = {
            "accelerator": lambda: str(pynvml.nvmlDeviceGetName(device)),
            "accelerator_memory_bytes": lambda: int(pynvml.nvmlDeviceGetMemoryInfo(device).total),
            "accelerator_power_limit_w": lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1000,
            "accelerator_capability": lambda: "{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(device)),
            "accelerator_driver": lambda: str(pynvml.nvmlSystemGetDriverVersion()),
        }
        return {name: value for name, read in readers.items() if (value := _read_safely(read)) is not None}
    # ValueError if the name is neither an index nor a UUID.
    except (pynvml.NVMLError, ValueError):
        return {}
    finally:
        pynvml.nvmlShutdown()


def _read_safely(read: Any) -> Any:
    import pynvml

    try:
        return read()
    except pynvml.NVMLError:  # "not supported" is common on virtual GPUs
        return None
