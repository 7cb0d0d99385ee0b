from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from certify.core.errors import MeasureError, UsageError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import MeterFacts
from certify.core.windows import Window
from certify.measure.meters import choose, get
from certify.measure.meters.base import Reading, Usage
from certify.measure.meters.combined_meter import Sum
from certify.measure.observations import power_check

USED = Usage(duration_s=1.0, cpu_s=1.0)


class Fake:
    """A meter with given readings."""

    resolution = "1 J"
    privilege = "none"

    def __init__(
        self, name: str, device: str, level: str = "counter", reason: str | None = None, reading: Reading | None = None
    ) -> None:
        self.name = name
        self.devices = frozenset(device.split("+"))
        self.scope = f"scope of {name}"
        self.level = EvidenceLevel(level)
        self.reading = reading or Reading(1.0, {})
        self._reason = reason

    def unavailable(self) -> str | None:
        return self._reason

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        error = 2.0 if self.level is EvidenceLevel.MODELLED else None
        return MeterFacts(self.name, self.level.value, self.scope, "how", error, dict(refused), {"range": 5})

    def start(self) -> None:
        pass

    def stop(self, usage: Usage) -> Reading:
        return self.reading


def test_sum_adds_joules_and_states_its_scopes_and_its_weakest_level() -> None:
    gpu = Fake("gpu", "cuda", "sampled", reading=Reading(30.0, {"power_samples": 3.0, "integrated_j": 30.0}))
    host = Fake("host", "cpu", reading=Reading(12.0, {"package_before_uj": 1.0}))
    both = Sum([gpu, host])
    assert (both.name, both.level, both.scope) == ("gpu+host", EvidenceLevel.SAMPLED, "scope of gpu + scope of host")
    assert both.devices == {"cpu", "cuda"}
    both.start()
    reading = both.stop(USED)
    assert reading.energy_j == 42.0
    assert reading.raw == {
        "gpu.energy_j": 30.0, "gpu.power_samples": 3.0, "gpu.integrated_j": 30.0,
        "host.energy_j": 12.0, "host.package_before_uj": 1.0,
    }  # fmt: skip


def test_sum_keeps_the_check_of_a_counter_apart_from_the_other_parts() -> None:
    gpu = Fake("gpu", "cuda", reading=Reading(30.0, {"counter_j": 30.0, "integrated_j": 29.0}))
    host = Fake("host", "cpu", reading=Reading(12.0, {}))
    raw = Sum([gpu, host]).stop(USED).raw
    assert (raw["counter_j"], raw["integrated_j"]) == (30.0, 29.0)


def test_counter_is_checked_by_its_own_power_when_it_is_part_of_a_sum() -> None:
    gpu = Fake("gpu", "cuda", reading=Reading(30.0, {"counter_j": 30.0, "integrated_j": 29.0}))
    reading = Sum([gpu, Fake("host", "cpu", reading=Reading(12.0, {}))]).stop(USED)
    window = Window("main", 0, 0, 0, "baseline", 1, 1, 0.0, 1.0, 1.0, reading.energy_j, reading.raw)
    assert power_check([window, window])[0].values == {"counter_j": 60.0, "integrated_j": 58.0}
    unchecked = dataclasses.replace(window, reading={})
    assert power_check([window, unchecked]) == power_check([]) == []


def test_sum_names_the_parameters_of_each_part_and_the_largest_error() -> None:
    facts = Sum([Fake("gpu", "cuda"), Fake("host", "cpu", "modelled")]).facts({"other": "why"})
    assert facts.parameters == {"gpu.range": 5, "host.range": 5}
    assert (facts.level, facts.relative_error, facts.refused) == ("modelled", 2.0, {"other": "why"})
    assert facts.method == "gpu: how; host: how"


def test_sum_is_refused_when_two_parts_cover_the_same_device() -> None:
    with pytest.raises(UsageError, match="count twice"):
        Sum([Fake("board", "cpu+cuda"), Fake("host", "cpu")])
    with pytest.raises(UsageError, match="count twice"):
        get("rapl-powercap+rapl-perf")


def test_sum_says_why_when_one_part_cannot_be_used() -> None:
    assert Sum([Fake("gpu", "cuda"), Fake("host", "cpu", reason="no zone")]).unavailable() == "no zone"


def test_choice_for_the_gpu_adds_the_processor_when_both_can_be_read() -> None:
    choice = choose(
        "cuda", [Fake("gpu", "cuda"), Fake("perf", "cpu"), Fake("cap", "cpu"), Fake("v", "cpu", "modelled")]
    )
    assert choice.meter is not None
    assert (choice.meter.name, choice.meter.level) == ("gpu+perf", EvidenceLevel.COUNTER)
    assert choice.refused == {"v": "v covers the processor; the runtime computes on the GPU."}


def test_choice_for_the_gpu_is_its_board_alone_when_the_processor_cannot_be_read() -> None:
    choice = choose("cuda", [Fake("gpu", "cuda"), Fake("cap", "cpu", reason="no zone"), Fake("v", "cpu", "modelled")])
    assert choice.meter is not None and choice.meter.name == "gpu"
    assert choice.refused["cap"] == "no zone"


def test_choice_for_the_gpu_adds_nothing_when_the_meter_covers_the_processor_too() -> None:
    choice = choose("cuda", [Fake("board", "cpu+cuda"), Fake("cap", "cpu")])
    assert choice.meter is not None and choice.meter.name == "board"
    assert "covers the processor" in choice.refused["cap"]


def test_choice_is_none_when_only_the_processor_can_be_read() -> None:
    choice = choose("cuda", [Fake("gpu", "cuda", reason="no GPU"), Fake("cap", "cpu")])
    assert choice.meter is None
    assert choice.refused == {"gpu": "no GPU", "cap": "cap covers the processor; the runtime computes on the GPU."}


def test_window_of_the_sum_ends_when_a_part_fails() -> None:
    class Failing(Fake):
        def stop(self, usage: Usage) -> Reading:
            raise MeasureError("gone")

    with pytest.raises(MeasureError, match="gone"):
        Sum([Fake("gpu", "cuda"), Failing("host", "cpu")]).stop(USED)
