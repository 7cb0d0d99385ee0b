"""Several meters read as one, such as the GPU's board and the processor's package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certify.core.errors import UsageError
from certify.core.estimate import EvidenceLevel, weakest
from certify.core.evidence import MeterFacts
from certify.measure.meters.base import Meter, Reading, Usage, facts_of

PLUS = "+"
CHECKED = ("counter_j", "integrated_j")
"""What a counter is checked by; stands in a sum's reading under its own name, of the first part that has both."""


class Sum:
    """The joules of several meters, added up.

    Its level is the weakest of its parts', its scope names all of theirs, and each part's raw values stand in the
    reading behind the part's name and a point.

    Args:
        parts: meters of which no two cover the same device.

    Raises:
        UsageError: two parts cover the same device, so that joules would count twice.
    """

    def __init__(self, parts: Sequence[Meter]) -> None:
        self.parts = tuple(parts)
        self.name = PLUS.join(part.name for part in self.parts)
        self.devices: frozenset[str] = frozenset().union(*(part.devices for part in self.parts))
        if len(self.devices) < sum(len(part.devices) for part in self.parts):
            raise UsageError(
                f"The meters {self.name} cover the same device, so that joules would count twice; name one for each."
            )
        self.resolution = "; ".join(part.resolution for part in self.parts)
        self.privilege = "; ".join(part.privilege for part in self.parts)

    @property
    def scope(self) -> str:
        """The scopes of all parts."""
        return " + ".join(part.scope for part in self.parts)

    @property
    def level(self) -> EvidenceLevel:
        """The weakest part's."""
        return weakest(part.level for part in self.parts)

    def unavailable(self) -> str | None:
        """Why a part can't be used, or None."""
        return next((reason for part in self.parts if (reason := part.unavailable()) is not None), None)

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        """What the evidence says about it; the parts' parameters stand behind their names."""
        parts = [part.facts({}) for part in self.parts]
        errors = [part.relative_error for part in parts if part.relative_error is not None]
        method = "; ".join(f"{part.name}: {part.method}" for part in parts)
        parameters = {f"{part.name}.{key}": value for part in parts for key, value in part.parameters.items()}
        return facts_of(self, method, refused, parameters, max(errors, default=None))

    def start(self) -> None:
        """Begin the window of every part."""
        for part in self.parts:
            part.start()

    def stop(self, usage: Usage) -> Reading:
        """End the window of every part."""
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
