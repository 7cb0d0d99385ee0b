from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.assessments.efficiency.payback import carbon, compression_energy, payback, payback_inferences, saved_energy
from certify.core.errors import UsageError
from certify.core.estimate import Estimate, EvidenceLevel

COUNTER, MODELLED = EvidenceLevel.COUNTER, EvidenceLevel.MODELLED


def joules(value: float, spread: float = 0.1, level: EvidenceLevel = COUNTER) -> Estimate:
    return Estimate(value, value * (1 - spread), value * (1 + spread), "J", 5, "test", level)


def ratio(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, "1", 12, "test", COUNTER)


PROFILE = {"energy_j_baseline": joules(2.0), "energy_ratio": ratio(0.25, 0.2, 0.3)}


def test_compression_energy_is_the_sum_of_the_passes_at_the_weakest_level() -> None:
    rows = [{"energy_j": joules(100.0).to_json()}, {"energy_j": joules(50.0, level=MODELLED).to_json()}]
    total = compression_energy({"rows": rows})
    assert total is not None
    assert (total.value, total.low, total.high) == pytest.approx((150.0, 135.0, 165.0))
    assert (total.unit, total.evidence) == ("J", MODELLED)


@pytest.mark.parametrize("rows", [[], [{"energy_j": None}], [{"energy_j": joules(1.0).to_json()}, {"energy_j": None}]])
def test_compression_energy_is_absent_when_a_pass_was_not_metered(rows: list[dict[str, object]]) -> None:
    assert compression_energy({"rows": rows}) is None


def test_saved_energy_has_the_widest_ends_of_both_intervals() -> None:
    saved = saved_energy(PROFILE)
    assert saved is not None
    assert (saved.value, saved.low, saved.high) == pytest.approx((1.5, 1.8 * 0.7, 2.2 * 0.8))


def test_payback_is_joules_spent_over_joules_saved() -> None:
    paid = payback_inferences(joules(3000.0), PROFILE)
    assert paid is not None
    assert (paid.value, paid.low, paid.high) == pytest.approx((2000.0, 2700 / 1.76, 3300 / 1.26))
    assert (paid.unit, paid.evidence) == ("1", COUNTER)


def test_payback_is_unbounded_when_the_saving_may_be_zero() -> None:
    paid = payback_inferences(joules(3000.0), {**PROFILE, "energy_ratio": ratio(0.95, 0.9, 1.02)})
    assert paid is not None
    assert math.isinf(paid.high)
    assert paid.low > 0


@pytest.mark.parametrize(
    "estimates",
    [
        {},
        {"energy_ratio": ratio(0.5, 0.4, 0.6)},
        {**PROFILE, "energy_ratio": ratio(1.0, 0.9, 1.1)},
        {**PROFILE, "energy_ratio": ratio(1.2, 0.9, 1.4)},
        {**PROFILE, "energy_ratio": ratio(0.5, 0.1, math.inf)},
    ],
)
def test_payback_is_absent_when_nothing_is_saved_or_known(estimates: dict[str, Estimate]) -> None:
    assert payback_inferences(joules(3000.0), estimates) is None
    assert payback_inferences(None, PROFILE) is None


def test_payback_states_grams_only_when_an_intensity_is_given() -> None:
    lineage = {"rows": [{"energy_j": joules(3000.0).to_json()}]}
    assert payback(PROFILE, lineage).carbon == {}
    paid = payback(PROFILE, lineage, 360.0)
    assert paid.inferences is not None
    assert {name: grams.value for name, grams in paid.carbon.items()} == pytest.approx({"spent": 0.3, "baseline": 2e-4})
    assert paid.to_json()["carbon"]["spent"]["unit"] == "g"


def test_payback_is_empty_when_there_is_neither_lineage_nor_energy() -> None:
    nothing = payback({}, None)
    assert (nothing.spent, nothing.saved, nothing.inferences, nothing.carbon) == (None, None, None, {})
    assert nothing.to_json() == {
        "spent": None,
        "saved": None,
        "parts": {},
        "inferences": None,
        "carbon": {},
        "sci": {},
        "embodied_g": None,
    }


@given(st.floats(1.0, 1e6), st.floats(0.01, 0.99), st.floats(0.01, 0.98))
def test_payback_comes_later_when_less_is_saved(spent: float, share: float, more: float) -> None:
    other = min(0.99, share + more * (0.995 - share))
    quick = payback_inferences(joules(spent), {**PROFILE, "energy_ratio": ratio(share, share, share)})
    slow = payback_inferences(joules(spent), {**PROFILE, "energy_ratio": ratio(other, other, other)})
    assert quick is not None and slow is not None
    assert quick.low <= quick.value <= quick.high
    assert slow.value >= quick.value or other < share


def test_carbon_is_energy_times_the_given_intensity() -> None:
    grams = carbon(joules(3.6e6), 400.0)
    assert (grams.value, grams.low, grams.high) == pytest.approx((400.0, 360.0, 440.0))
    assert (grams.unit, grams.evidence) == ("g", COUNTER)
    assert "400 g" in grams.method


def test_sci_adds_embodied_grams_to_those_of_the_energy() -> None:
    bare, full = payback(PROFILE, None, 400.0), payback(PROFILE, None, 400.0, 0.5)
    assert bare.embodied_g is None
    assert {arm: score.value for arm, score in bare.sci.items()} == {"baseline": bare.carbon["baseline"].value}
    for arm, score in full.sci.items():
        assert score.value == pytest.approx(bare.carbon[arm].value + 0.5)
        assert score.low == pytest.approx(bare.carbon[arm].low + 0.5)
    assert full.to_json()["embodied_g"] == 0.5 and full.to_json()["sci"].keys() == {"baseline"}


@pytest.mark.parametrize(("intensity", "embodied"), [(None, 1.0), (400.0, -1.0), (400.0, float("inf"))])
def test_sci_refuses_embodied_grams_when_not_valid(intensity: float | None, embodied: float) -> None:
    with pytest.raises(UsageError, match="carbon-intensity"):
        payback(PROFILE, None, intensity, embodied)


@pytest.mark.parametrize("intensity", [-1.0, math.inf, math.nan])
def test_carbon_refuses_when_the_intensity_is_not_a_number_of_grams(intensity: float) -> None:
    with pytest.raises(UsageError, match="g/kWh"):
        carbon(joules(1.0), intensity)


def test_carbon_refuses_when_the_unit_is_not_joules() -> None:
    with pytest.raises(ValueError, match="in J"):
        carbon(ratio(1.0, 1.0, 1.0), 100.0)
