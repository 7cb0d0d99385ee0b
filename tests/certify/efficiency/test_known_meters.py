"""What a meter of some name can have recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certify.assessments.efficiency.known_meters import counted_level, fault, is_plug_in, joules_from_readings
from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.core.vcpu_model import modelled_energy_j
from certify.core.windows import Window

SUM = MeterFacts(
    "nvml+rapl-powercap",
    "counter",
    "board + package",
    "nvml: total energy counter; rapl-powercap: sum of the counters package-0, modulo their ranges",
    None,
    {},
    {"rapl-powercap.package-0_range_uj": 1000.0},
)
CODE = "ab" * 32


def window(reading: dict[str, float], **changed: Any) -> Window:
    fields = {"duration_s": 2.0, "cpu_s": 3.0, "energy_j": 1.0, **changed}
    return Window("main", 0, 0, 0, "baseline", 2, 1, 0.0, reading=reading, **fields)


def test_joules_of_a_sum_are_those_of_its_parts() -> None:
    reading = {
        "nvml.energy_j": 5.0, "nvml.board_before_mj": 1000.0, "nvml.board_after_mj": 6000.0, "counter_j": 5.0,
        "integrated_j": 4.9, "rapl-powercap.package-0_before_uj": 900.0, "rapl-powercap.package-0_after_uj": 200.0,
    }  # fmt: skip
    assert joules_from_readings(SUM, window(reading)) == pytest.approx(5.0 + 300e-6)
    del reading["rapl-powercap.package-0_after_uj"]
    assert joules_from_readings(SUM, window(reading)) is None


@pytest.mark.parametrize(
    ("reading", "joules"),
    [
        ({"board_before_mj": 5.0, "board_after_mj": 15.0}, 0.01),
        ({"a_before_uj": 0.0, "a_after_uj": 1e6, "b_before_uj": 1e6, "b_after_uj": 3e6}, 3.0),
        ({"a_before_uj": 10.0, "a_after_uj": 4.0}, -6e-6),
        ({"a_before_kwh": 1.0, "a_after_kwh": 2.0}, None),
        ({"integrated_j": 7.0, "power_samples": 2.0}, 7.0),
        ({"integrated_j": 7.0}, None),
        ({"power_samples": 9.0}, None),
        ({}, None),
    ],
)
def test_joules_follow_from_readings_alone(reading: dict[str, float], joules: float | None) -> None:
    meter = MeterFacts("bench", "counter", "wall", "an analyser", None, code=CODE)
    found = joules_from_readings(meter, window(reading))
    assert found is None if joules is None else found == pytest.approx(joules)


def test_modelled_joules_of_a_sum_follow_from_its_windows() -> None:
    watts = {"idle_w_per_vcpu": 0.5, "full_w_per_vcpu": 4.0, "vcpus": 2}
    meter = MeterFacts(
        "nvml+vcpu-watts", "modelled", "", "", 2.0, {}, {f"vcpu-watts.{key}": v for key, v in watts.items()}
    )
    reading = {"nvml.integrated_j": 10.0, "nvml.power_samples": 40.0}
    assert joules_from_readings(meter, window(reading)) == pytest.approx(10 + modelled_energy_j(0.5, 4.0, 2, 2.0, 3.0))
    assert joules_from_readings(replace(meter, parameters={}), window(reading)) is None


def test_fault_is_none_when_a_sum_matches_its_parts() -> None:
    assert fault(SUM, {}) is None
    sampled = "nvml: instant power every 0.05 s, trapezoid rule"
    weaker = replace(SUM, method=SUM.method.replace("nvml: total energy counter", sampled))
    assert fault(weaker, {}) is not None and fault(replace(weaker, level="sampled"), {}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"level": "wall"},
        {"level": "sampled"},
        {"scope": "board"},
        {"scope": "package + board"},
        {"method": "total energy counter"},
        {"method": SUM.method.replace("nvml: ", "")},
        {"relative_error": 1.05},
        {"name": "nvml+rapl"},
        {"name": "rapl-powercap+nvml"},
    ],
)
def test_fault_is_reported_when_a_sum_differs_from_its_parts(changed: dict[str, Any]) -> None:
    assert fault(replace(SUM, **changed), {}) is not None


@pytest.mark.parametrize(
    ("stated", "counted"), [("wall", "sampled"), ("counter", "sampled"), ("modelled", "modelled"), ("proxy", "proxy")]
)
def test_level_of_a_plug_in_is_sampled_at_most(stated: str, counted: str) -> None:
    plugged = MeterFacts("bench", stated, "wall", "an analyser", None, code=CODE)
    assert is_plug_in(plugged) and counted_level(plugged) is EvidenceLevel(counted)
    assert counted_level(replace(SUM, name="nvml+bench", level=stated)) is EvidenceLevel(counted)
    assert not is_plug_in(SUM) and counted_level(SUM) is EvidenceLevel.COUNTER
    with pytest.raises(CertificateError, match="direct"):
        counted_level(replace(plugged, level="direct"))


def test_plug_in_states_the_digest_of_its_code_or_is_a_fault() -> None:
    plugged = MeterFacts("bench", "wall", "wall", "an analyser", None, code=CODE)
    assert fault(plugged, {}) is None
    for code in (None, "", "AB" * 32, "ab" * 31):
        assert fault(replace(plugged, code=code), {}) is not None
