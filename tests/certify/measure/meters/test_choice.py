from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certify.core.errors import MeasureError, UsageError
from certify.measure.meters import METERS, choose, get, require
from certify.measure.meters.rapl_powercap import RaplPowercap
from certify.measure.meters.vcpu_watts import VcpuWatts


def _with_rapl(root: Path) -> RaplPowercap:
    zone = root / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "1"), ("max_energy_range_uj", "1000")):
        (zone / name).write_text(text)
    return RaplPowercap(root, lambda _: (zone / "energy_uj").write_text("5") and None)


def test_choice_is_the_strongest_evidence_when_several_can_be_read(tmp_path: Path) -> None:
    rapl = _with_rapl(tmp_path)
    choice = choose("cpu", [VcpuWatts(tmp_path), rapl])
    assert choice.meter is rapl and choice.refused == {}


def test_choice_falls_back_and_says_why_when_the_better_one_is_absent(tmp_path: Path) -> None:
    choice = choose("cpu", [RaplPowercap(tmp_path), VcpuWatts(tmp_path)])
    assert choice.meter is not None and choice.meter.name == "vcpu-watts"
    assert list(choice.refused) == ["rapl-powercap"] and "absent" in choice.refused["rapl-powercap"]


def test_choice_is_none_when_no_meter_covers_the_device(tmp_path: Path) -> None:
    choice = choose("cuda", [RaplPowercap(tmp_path), VcpuWatts(tmp_path)])
    assert choice.meter is None
    assert choice.refused["vcpu-watts"] == "vcpu-watts covers the processor; the runtime computes on the GPU."


def test_require_says_why_when_the_requested_meter_cannot_be_used() -> None:
    with pytest.raises(MeasureError, match="nvml covers the GPU"):
        require("nvml", "cpu")


def test_get_suggests_the_nearest_when_the_name_is_unknown() -> None:
    with pytest.raises(UsageError, match="did you mean 'vcpu-watts'"):
        get("vcpu-wats")


def test_built_in_meters_have_the_names_of_the_table() -> None:
    assert [get(name).name for name in METERS.own] == list(METERS.own)


def test_pynvml_is_not_loaded_when_choosing_for_the_processor() -> None:
    code = "import sys; from certify.measure.meters import choose; choose('cpu'); sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
