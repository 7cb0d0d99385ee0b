"""Sum of several meters, such as the GPU's board and the processor's package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certify.core.errors import UsageError
from certify.core.estimate import EvidenceLevel, weakest
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Meter, Reading, Usage, facts_of

PLUS = "+"
CHECKED = ("counter_j", "integrated_j")
"""Values for the check of a counter; a sum records those of the first part that has both, under these names."""


class Sum:
    """Sum of the joules of several meters.

    Its level is the weakest of its parts' levels, its scope names all of their scopes, and the reading holds each
    part's raw values with the part's name and a dot as prefix.

    Args:
        parts: meters that cover different devices.

    Raises:
        UsageError: two parts cover the same device, so joules would count twice.
    """

    def __init__(self, parts: Sequence[Meter]) -> None:
        self.parts = tuple(parts)
        self.name = PLUS.join(part.name for part in self.parts)
        self.devices: frozenset[str] = frozenset().union(*(part.devices for part in self.parts))
        if len(self.devices) < sum(len(part.devices) for part in self.parts):
            raise UsageError(
                f"The meters in {self.name} cover the same device, so joules would count twice; name one meter per "
                "device."
            )
        self.resolution = "; ".join(part.resolution for part in self.parts)
        self.privilege = "; ".join(part.privilege for part in self.parts)

    @property
    def scope(self) -> str:
        """Scopes of all parts."""
        return " + ".join(part.scope for part in self.parts)

    @property
    def level(self) -> EvidenceLevel:
        """Level of the weakest part."""
        return weakest(part.level for part in self.parts)

    def unavailable(self) -> str | None:
        """Return why a part cannot be used, or None."""
        return next((reason for part in self.parts if (reason := part.unavailable()) is not None), None)

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """Return its facts for the evidence; parameters have their part's name as prefix."""
        parts = [part.facts({}) for part in self.parts]
        errors = [part.relative_error for part in parts if part.relative_error is not None]
        method = "; ".join(f"{part.name}: {part.method}" for part in parts)
        parameters = {f"{part.name}.{key}": value for part in parts for key, value in part.parameters.items()}
        return facts_of(self, method, refused, parameters, max(errors, default=None))

    def start(self) -> None:
        """Start the window of every part."""
        for part in self.parts:
            part.start()

    def stop(self, usage: Usage) -> Reading:
        """Stop the window of every part."""
        raw: dict[str, float] = {}
        energy_j = 0.0
        for part in self.parts:
            reading = part.stop(usage)
            energy_j += reading.energy_j
            raw[f"{part.name}.energy_j"] = reading.energy_j
            for key, value in reading.raw.items():
                is_check = key in CHECKED and all(name in reading.raw for name in CHECKED)
                raw.setdefault(key if is_check else f"{part.name}.{key}", value)
        return Reading(energy_j, raw)
