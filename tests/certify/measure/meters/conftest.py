"""Every reading that a meter of the package gives in these tests is held against what the judge knows of that meter."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from certify.assessments.efficiency.known_meters import fault, joules_from_readings
from certify.core.windows import Window
from certify.measure.meters import METERS
from certify.measure.meters.base import Reading, Usage


def agrees(meter: Any, usage: Usage, reading: Reading) -> None:
    """Assert that the judge takes a reading for one of this meter."""
    facts = meter.facts({})
    assert fault(facts, {"processors_allowed": facts.parameters.get("vcpus")}) is None
    window = Window(
        "main", 0, 0, 0, "baseline", 1, 1, 0.0, usage.duration_s, usage.cpu_s, reading.energy_j, dict(reading.raw)
    )
    assert joules_from_readings(facts, window) == pytest.approx(reading.energy_j, rel=1e-6, abs=1e-6)


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(METERS) - {"replay"}:
        module, _, attribute = METERS[name].partition(":")
        meter = getattr(importlib.import_module(module), attribute)

        def stop(self: Any, usage: Usage, real: Any = meter.stop) -> Reading:
            reading: Reading = real(self, usage)
            agrees(self, usage, reading)
            return reading

        monkeypatch.setattr(meter, "stop", stop)
