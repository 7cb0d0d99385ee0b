from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.vcpu_model import coefficients, modelled_energy_j
from certify.measure.meters.vcpu_watts import VcpuWatts
from certify.testing import check_meter

SECONDS = st.floats(0, 1e4)


def test_meter_passes_the_battery(tmp_path: Path) -> None:
    check_meter(lambda: VcpuWatts(tmp_path), work=lambda: time.sleep(0.02))


def test_unknown_row_is_the_mean_of_the_providers() -> None:
    rows = dict(coefficients()["providers"])
    unknown = rows.pop("unknown")
    for name, value in unknown.items():
        assert value == pytest.approx(sum(row[name] for row in rows.values()) / len(rows), abs=5e-5)


def test_data_file_states_its_source_its_date_and_its_error() -> None:
    data = coefficients()
    assert data["source"] and data["url"].startswith("https://") and len(data["date"]) == len("2026-01-01")
    assert data["relative_error"] == 2.0
    assert all(0 < row["idle_w"] < row["full_w"] for row in data["providers"].values())


@given(SECONDS, SECONDS, SECONDS)
def test_energy_grows_with_cpu_time_and_lies_between_idle_and_full(duration: float, cpu: float, more: float) -> None:
    idle, full = 0.7, 4.0
    energy = modelled_energy_j(idle, full, 1, duration, min(cpu, duration))
    assert idle * duration - 1e-9 <= energy <= full * duration + 1e-9
    assert modelled_energy_j(idle, full, 1, duration, cpu + more) >= modelled_energy_j(idle, full, 1, duration, cpu)


@pytest.mark.parametrize(
    ("vendor", "tag", "provider"),
    [
        ("Amazon EC2", "", "aws"),
        ("Google", "", "gcp"),
        ("Microsoft Corporation", "7783-7084-3265-9085-8269-3286-77", "azure"),
        ("Microsoft Corporation", "", "unknown"),
        ("QEMU", "", "unknown"),
    ],
)
def test_provider_is_identified_by_the_dmi_strings(tmp_path: Path, vendor: str, tag: str, provider: str) -> None:
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (dmi / "sys_vendor").write_text(vendor + "\n")
    (dmi / "chassis_asset_tag").write_text(tag + "\n")
    assert VcpuWatts(tmp_path).provider == provider
