"""The baseline is measured in the form that takes less time on this machine, and only where that computes the same."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pytest
import recognisers as made

from certify.assessments.efficiency.assessment import _simplified
from certify.assessments.efficiency.claims import BaselineClaim
from certify.core.evidence import Observation
from certify.core.run_observations import Simplified
from certify.measure import faster_form as forms
from certify.measure import runtimes
from certify.measure.client import WindowResult
from certify.measure.faster_form import applies_to, faster_form
from certify.measure.plan import Plan


class _Worker:
    """Says that an inference takes this many seconds of CPU."""

    arm, model = "baseline", Path("net.onnx")

    def __init__(self, each_s: float) -> None:
        self.each_s = each_s

    def window(self, inferences: int, expected_s: float) -> WindowResult:
        return WindowResult(inferences * self.each_s, inferences * self.each_s, True)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass


def opened(sum_s: float, add_s: float) -> forms.Opened:
    """Starts workers for which a model with a Sum takes ``sum_s``."""
    return lambda model: _Worker(sum_s if "Sum" in {node.op_type for node in model.graph.node} else add_s)  # type: ignore[return-value]


def test_sums_are_kept_when_they_are_faster() -> None:
    found = faster_form([made.normalised()], opened(0.1, 0.2), lambda model: True)
    assert found is not None
    assert found[1] == ["1 Add before a layer normalisation as Sum (100 of 200 ms of one thread)"]
    assert [node.op_type for node in found[0].graph.node].count("Sum") == 1


@pytest.mark.parametrize(("sum_s", "same"), [(0.21, True), (0.2, True), (0.1, False)])
def test_model_is_unchanged_when_sums_are_not_faster_or_give_other_answers(sum_s: float, same: bool) -> None:
    assert faster_form([made.normalised()], opened(sum_s, 0.2), lambda model: same) is None


@pytest.mark.parametrize(("slower", "kept"), [(1, True), (2, False)])
def test_sums_are_kept_when_they_are_faster_in_all_rounds_but_one(
    slower: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = [0.3] * slower + [0.1] * (forms.ROUNDS - slower)
    monkeypatch.setattr(forms, "_in_turn", lambda *_: ([0.2] * forms.ROUNDS, after))
    assert (faster_form([made.normalised()], opened(0.1, 0.2), lambda model: True) is not None) is kept


def test_no_worker_is_started_when_there_is_nothing_to_rewrite() -> None:
    assert faster_form([made.net()], lambda model: pytest.fail("a worker was asked for"), lambda model: True) is None


def test_other_form_is_rewritten_when_an_addition_is_hidden_in_the_given_one() -> None:
    found = faster_form([made.normalised(hidden=True), made.normalised()], opened(0.1, 0.2), lambda model: True)
    assert found is not None and "Identity" not in {node.op_type for node in found[0].graph.node}


@pytest.mark.parametrize(
    ("runtime", "gpu", "applies"),
    [
        ("onnxruntime-cpu", True, True),
        ("openvino", False, False),
        ("onnxruntime-cuda", True, False),
        ("auto", False, True),
        ("auto", True, False),
    ],
)
def test_rewriting_applies_when_the_baseline_runs_on_the_processor_in_onnx_runtime(
    runtime: str, gpu: bool, applies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtimes.get

    def get(name: str) -> runtimes.Runtime:
        adapter = real(name)
        lacks = None if adapter.device == "cpu" or gpu else "There is no GPU."
        monkeypatch.setattr(adapter, "unavailable", lambda: lacks, raising=False)
        return adapter

    monkeypatch.setattr(forms.runtimes, "get", get)
    assert applies_to(Plan(runtime=runtime)) is applies


def test_certificate_says_how_the_baseline_was_rewritten() -> None:
    values = {"given_digest": "aa", "given_bytes": 1000, "bytes": 1000, "given_cost": 9, "cost": 9}
    observed = Observation.of(Simplified(**values, rewritten=["13 Add as Sum"]))
    stated = _simplified(Simplified.read(observed.values))
    assert stated is not None and stated["removed"] is None and stated["rewritten"] == ["13 Add as Sum"]
    claim = BaselineClaim("aa", "bb", "as given", None, stated, {}, None)
    assert claim.changed == "measured in a form that computes the same in less time: 13 Add as Sum"
