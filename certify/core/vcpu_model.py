"""Power model of the meter ``vcpu-watts``: CPU seconds times published watts.

It is here rather than with the meter because the judge recomputes modelled joules from the recorded seconds.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import yaml


@functools.cache
def coefficients() -> dict[str, Any]:
    """Return watts of an idle and of a fully used vCPU by provider, with their source, from ``vcpu_watts.yaml``."""
    content: dict[str, Any] = yaml.safe_load((resources.files("certify.core") / "vcpu_watts.yaml").read_bytes())
    return content


def modelled_energy_j(idle_w: float, full_w: float, vcpus: float, duration_s: float, cpu_s: float) -> float:
    """Return joules by the linear utilisation model of Cloud Carbon Footprint.

    Args:
        idle_w: watts of one idle vCPU.
        full_w: watts of one fully used vCPU.
        vcpus: number of vCPUs.
        duration_s: wall seconds.
        cpu_s: CPU seconds, summed over the vCPUs.

    Example:
        >>> round(modelled_energy_j(idle_w=0.75, full_w=3.75, vcpus=2, duration_s=1.0, cpu_s=1.0), 2)
        4.5
    """
    return idle_w * vcpus * duration_s + (full_w - idle_w) * cpu_s
