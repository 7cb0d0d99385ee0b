"""Modelled energy of a virtual machine's processors: CPU seconds times published watts.

Reads: CPU seconds of the worker process (all threads, CLOCK_PROCESS_CPUTIME_ID) and wall seconds of the window.
Method: ``vcpus * idle_w_per_vcpu * duration_s + (full_w_per_vcpu - idle_w_per_vcpu) * cpu_s``, the linear utilisation
    model of Cloud Carbon Footprint (https://www.cloudcarbonfootprint.org/docs/methodology/), with its averages per
    provider, in certify/core/vcpu_watts.yaml. If the provider is not known from the DMI strings, the mean of the
    providers' rows is used, and ``provider`` is ``unknown``. Idle power counts for every vCPU that this process may
    use, whether or not the workload has a thread on it, as a package counter would count it.
Scope: the vCPUs that this process may use. Not memory, disk, network, cooling.
Resolution: nanoseconds of CPU time.
Wrap: none.
Privilege: none.
Known lies: everything is modelled. Neither clock frequency nor the kind of instruction matters, so a second of int8
    arithmetic counts as much as one of float, and a fast processor as much as a slow one. Good for a ratio on one
    machine, not for a sum over several. Its stated error is a factor of 2 either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.core.vcpu_model import coefficients, modelled_energy_j
from certify.measure.machine import allowed_processors
from certify.measure.meters.base import Reading, Usage, facts_of, not_started

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""Asset tag of all Azure virtual machines; the vendor string alone also appears on private Hyper-V hosts."""


class VcpuWatts:
    """Meter of modelled energy; always available.

    Args:
        root: root of the file system with the DMI strings.
        vcpus: number of vCPUs; by default those that this process may use.
    """

    name = "vcpu-watts"
    devices = frozenset({"cpu"})
    scope = "vcpu"
    resolution = "CPU time in ns"
    privilege = "none"
    level = EvidenceLevel.MODELLED

    def __init__(self, root: Path = Path("/"), vcpus: int | None = None) -> None:
        self._vcpus = vcpus or len(allowed_processors())
        self._data = coefficients()
        self.provider = _provider(root)
        self._row = self._data["providers"][self.provider]
        self._started = False

    def unavailable(self) -> str | None:
        """Never."""
        return None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence."""
        method = "CPU time times published watts per vCPU, idle power of all vCPUs included"
        parameters = {
            "idle_w": self._row["idle_w"] * self._vcpus,
            "idle_w_per_vcpu": self._row["idle_w"],
            "full_w_per_vcpu": self._row["full_w"],
            "vcpus": self._vcpus,
            "provider": self.provider,
            "source": self._data["source"],
            "url": self._data["url"],
            "date": self._data["date"],
        }
        return facts_of(self, method, refused, parameters, self._data["relative_error"])

    def start(self) -> None:
        """Do nothing: there is nothing to read before a window."""
        self._started = True

    def stop(self, usage: Usage) -> Reading:
        """Return the modelled joules of the worker's usage."""
        if not self._started:
            raise not_started(self.name)
        self._started = False
        energy = modelled_energy_j(self._row["idle_w"], self._row["full_w"], self._vcpus, usage.duration_s, usage.cpu_s)
        return Reading(energy, {})


def _provider(root: Path) -> str:
    dmi = root / "sys/class/dmi/id"
    vendor = _text(dmi / "sys_vendor")
    if "Amazon" in vendor:
        return "aws"
    if "Google" in vendor:
        return "gcp"
    if "Microsoft" in vendor and _text(dmi / "chassis_asset_tag") == AZURE_ASSET_TAG:
        return "azure"
    return "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (FileNotFoundError, PermissionError):  # no DMI table, or no permission to read it: the provider is unknown
        return ""
