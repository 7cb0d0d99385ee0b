"""Every reading that a meter of the package gives in these tests is held against what the judge knows of that meter."""

from __future__ import annotations

from typing import Any

import pytest

from certify.measure.meters import METERS
from certify.measure.meters.base import Reading, Usage
from certify.testing.meter import check_reading


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(METERS.own) - {"replay"}:
        meter: Any = METERS.load(name)

        def stop(self: Any, usage: Usage, real: Any = meter.stop) -> Reading:
            reading: Reading = real(self, usage)
            check_reading(self, reading, usage)
            return reading

        monkeypatch.setattr(meter, "stop", stop)
