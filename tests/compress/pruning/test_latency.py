"""A target in time is searched for by measuring, and met with the whole interval or declined with what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certify.core.estimate import Estimate
from compress.core.model_stats import count_macs, state_digest
from compress.passes.structured_prune import StructuredPrune
from compress.pruning import latency
from compress.pruning.latency import Trial, best, paired, search


def _estimate(value: float, noise: float = 0.0) -> Estimate:
    return Estimate(value, value - noise, value + noise, "1", 21, "made up")


@pytest.mark.parametrize("fixed", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_search_comes_close_to_the_target_when_time_has_a_part_that_stays(fixed, noise):
    tried = search(lambda share: Trial(share, _estimate(fixed + (1 - fixed) * share, noise)), 0.5)
    chosen = best(tried, 0.5)
    assert chosen.time_share.high <= 0.5
    assert chosen.macs_share == pytest.approx((0.5 - noise - fixed) / (1 - fixed), abs=0.05)
    assert len(tried) <= latency.TRIALS


def test_search_ends_when_there_is_no_smaller_candidate():
    tried = search(lambda share: Trial(share, _estimate(0.9)) if share > 0.3 else None, 0.5)
    assert best(tried, 0.5) is None
    assert 1 <= len(tried) <= latency.TRIALS


def test_interval_holds_the_ratio_when_both_take_turns(monkeypatch):
    """A machine that becomes slower all the time, by a clock that the calls move."""
    now, slowness, order = [0.0], [1.0], []

    def work(name: str, seconds: float):
        def call() -> None:
            order.append(name)
            slowness[0] *= 1.01
            now[0] += seconds * slowness[0]

        return call

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    found = paired(work("original", 1.0), work("candidate", 0.5))
    assert found.low <= 0.5 <= found.high
    assert found.high - found.low < 0.02
    assert found.n == latency.PAIRS
    assert order[-4:] in (
        ["original", "candidate", "candidate", "original"],
        ["candidate", "original", "original", "candidate"],
    )


@pytest.fixture
def clock(monkeypatch, context):
    """Times that are a fixed part and a part for each multiply-add."""
    sample = context.sample(1)

    class Counted:
        def __init__(self, original, preprocess, sample_of_one, classes) -> None:
            self.original = count_macs(original, sample)

        def time_share(self, model):
            return _estimate(0.2 + 0.8 * count_macs(model, sample) / self.original, 0.01)

    monkeypatch.setattr(latency, "Stopwatch", Counted)


def test_model_is_as_fast_as_asked_when_latency_is_the_target(clock, model, context):
    before = state_digest(model)
    pruned, record = StructuredPrune(latency=0.6, round_to=2).apply(model, context)
    assert record.done["latency_share"]["high"] <= 0.6
    assert record.done["macs_share"] == pytest.approx((0.59 - 0.2) / 0.8, abs=0.06)
    assert count_macs(pruned, context.sample(1)) < 0.6 * count_macs(model, context.sample(1))
    assert all(set(trial) == {"macs_share", "time_share"} for trial in record.done["latency_trials"])
    assert state_digest(model) == before


def test_model_is_declined_with_what_was_measured_when_the_time_cannot_be_reached(clock, model, context):
    same, record = StructuredPrune(latency=0.15, round_to=2).apply(model, context)
    assert not record.changed
    assert "0.15 of the time can't be reached; measured:" in record.declined[0].why
    assert "of the multiply-adds" in record.declined[0].why
    assert state_digest(same) == state_digest(model)


def test_exported_files_are_timed_when_nothing_is_made_up(model, context):
    narrow, _ = StructuredPrune(macs=0.2, round_to=2).apply(model, context)
    sample = context.sample(1)
    stopwatch = latency.Stopwatch(model, context.preprocess, sample.numpy(), 4)
    share = stopwatch.time_share(narrow)
    assert 0 < share.low <= share.value <= share.high
    assert share.unit == "1"


def test_latency_is_one_of_the_targets():
    with pytest.raises(ValueError, match="name one target"):
        StructuredPrune(latency=0.5, macs=0.5)
    assert replace(Trial(0.5, _estimate(0.4)), macs_share=0.3).to_json()["time_share"]["value"] == 0.4
