"""A file that is slower in its target's runtime than the float one is declined, in words, and removed."""

from __future__ import annotations

import pytest

from certify.core.estimate import Estimate, EvidenceLevel
from compress.core.targets import TARGETS
from compress.passes.quantize_static import QuantizeStatic
from compress.quantization.post_training import target_steps
from compress.quantization.post_training.target_steps import measured_speed


@pytest.fixture
def timed(monkeypatch):
    """Let files take a chosen share of the float file's time; return a way to choose it, and the runtimes asked."""
    runtimes: list[str] = []

    def choose(value: float) -> list[str]:
        def time_share(original, made, runtime, feeding):
            runtimes.append(runtime)
            return Estimate(value, value - 0.01, value + 0.01, "1", 15, "a fake timer", EvidenceLevel.PROXY)

        monkeypatch.setattr(target_steps.timing, "usable", lambda runtime: None)
        monkeypatch.setattr(target_steps.timing, "time_share", time_share)
        return runtimes

    return choose


def test_file_is_declined_and_removed_when_it_is_slower_in_openvino_than_floats(onnx_file, context, timed):
    runtimes = timed(1.2)
    before = sorted(onnx_file.parent.iterdir())
    quantized, record = QuantizeStatic(samples=16, target="openvino").apply(onnx_file, context)
    assert quantized == onnx_file
    assert sorted(onnx_file.parent.iterdir()) == before
    (declined,) = record.declined
    assert "of the float file's time in openvino-bf16 here, but at most 1 is allowed" in declined.why
    assert runtimes == ["openvino-bf16"]


@pytest.mark.parametrize(("value", "most", "slow"), [(0.99, None, False), (0.9, 0.8, True), (1.2, 1.5, False)])
def test_file_is_too_slow_when_it_exceeds_the_limit(onnx_file, context, timed, value, most, slow):
    timed(value)
    speed = measured_speed(TARGETS["openvino"], most, onnx_file, onnx_file, context)
    assert (speed.slow is not None) == slow
    assert speed.notes["time_share"]["value"] == value


def test_time_is_not_measured_when_the_target_has_no_limit(onnx_file, context, timed):
    runtimes = timed(2.0)
    assert measured_speed(TARGETS["cpu-vnni"], None, onnx_file, onnx_file, context).notes == {}
    assert not runtimes


def test_note_gives_the_reason_when_the_runtime_is_not_installed(onnx_file, context, monkeypatch):
    monkeypatch.setattr(target_steps.timing, "usable", lambda runtime: f"{runtime} is not installed")
    speed = measured_speed(TARGETS["openvino"], None, onnx_file, onnx_file, context)
    assert speed.slow is None
    assert speed.notes == {"time_not_measured": "openvino is not installed"}
