from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel, weakest

ENDS = st.tuples(*[st.floats(allow_nan=False)] * 3).map(sorted).filter(lambda ends: math.isfinite(ends[1]))


@given(ENDS, st.sampled_from(EvidenceLevel))
def test_estimate_survives_json_when_ends_are_bounded_or_not(ends: list[float], level: EvidenceLevel) -> None:
    estimate = Estimate(ends[1], ends[0], ends[2], "J", 10, "t interval", level)
    assert Estimate.from_json(json.loads(json.dumps(estimate.to_json(), allow_nan=False))) == estimate


@pytest.mark.parametrize(("low", "value", "high"), [(1, 0, 2), (0, 3, 2), (0, math.nan, 1), (math.nan, 1, 2)])
def test_estimate_is_refused_when_its_interval_does_not_hold_its_value(low: float, value: float, high: float) -> None:
    with pytest.raises(ValueError, match="low <= value <= high"):
        Estimate(value, low, high, "1", 1, "none")


@pytest.mark.parametrize("change", [{"value": "x"}, {"evidence": "guessed"}, {"n": None}, {"low": 9.0}])
def test_estimate_from_json_is_a_certificate_error_when_a_field_is_wrong(change: dict[str, object]) -> None:
    fields = {**Estimate(1.0, 0.5, 2.0, "J", 3, "m").to_json(), **change}
    with pytest.raises(CertificateError):
        Estimate.from_json(fields)
    fields.pop("unit")
    with pytest.raises(CertificateError):
        Estimate.from_json(fields)


def test_sum_takes_the_weakest_level() -> None:
    parts = [EvidenceLevel.COUNTER, EvidenceLevel.MODELLED, EvidenceLevel.DIRECT, EvidenceLevel.WALL]
    assert weakest(parts) is EvidenceLevel.MODELLED


def test_estimate_reads_well_when_printed() -> None:
    assert str(Estimate(0.31234, 0.3, 0.325, "1", 10, "m")) == "0.3123 [0.3, 0.325]"
    assert str(Estimate.exact(25557032, "B", "counted")) == "2.5557e+07 B"


def test_ends_scale_with_the_value() -> None:
    scaled = Estimate(2.0, 1.0, math.inf, "J", 10, "test").scaled(0.5)
    assert (scaled.value, scaled.low, scaled.high, scaled.unit) == (1.0, 0.5, math.inf, "J")
