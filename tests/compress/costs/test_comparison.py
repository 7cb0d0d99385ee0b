"""A pruned model that costs more than the unpruned one in the form that ships is declined."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import Estimate
from certify.measure.runtimes import AUTO
from compress.core.model_stats import state_digest
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.structured_prune import StructuredPrune

pytestmark = pytest.mark.usefixtures("unexported")
HALF = StructuredPrune(macs=0.5, reconstruct=False)


@pytest.fixture
def measuring(context, model):
    return replace(context, teacher=model, runtime="onnxruntime-cpu")


@pytest.fixture
def dearer_when_pruned(timer, monkeypatch):
    """Narrow files that take longer, as some widths do in integers."""
    honest = type(timer).weights

    def weights(self, file):
        return honest(self, file) + (100_000 if file.path.name.startswith("pruned") else 0)

    monkeypatch.setattr(type(timer), "weights", weights)


def test_measured_share_is_recorded_when_the_pruned_model_costs_less(timer, model, measuring):
    _, record = HALF.apply(model, measuring)
    found = record.done["measured_cost"]
    assert (found["quantity"], found["precision"]) == ("energy", "float")
    assert Estimate.from_json(found["share"]).value < 1
    assert timer.batches == [["whole", "pruned"]]


@pytest.mark.usefixtures("dearer_when_pruned")
def test_pruned_model_is_declined_when_it_costs_more(model, measuring):
    same, record = HALF.apply(model, measuring)
    assert not record.changed
    assert state_digest(same) == state_digest(model)
    why = record.declined[0].why
    assert why.startswith("pruned, it takes ") and why.endswith(
        " times the energy of the unpruned model in float on this machine; ask for energy instead"
    )


@pytest.mark.usefixtures("dearer_when_pruned")
def test_models_are_compared_in_integers_when_the_file_will_hold_integers(model, measuring, monkeypatch):
    monkeypatch.setattr("compress.costs.shipped_form.as_shipped", lambda model, *_: model)
    _, record = HALF.apply(model, replace(measuring, following=(QuantizeStatic(),)))
    assert "in int8 on this machine" in record.declined[0].why


@pytest.mark.usefixtures("dearer_when_pruned")
@pytest.mark.parametrize("runtime", [None, "torch-cuda"])
def test_nothing_is_compared_when_no_onnx_file_will_be_measured(timer, model, measuring, monkeypatch, runtime):
    monkeypatch.setattr("certify.measure.runtimes.torch_cuda.TorchCuda.unavailable", lambda self: None)
    _, record = HALF.apply(model, replace(measuring, runtime=runtime))
    assert record.changed and "measured_cost" not in record.done
    assert timer.batches == []


def test_default_runtime_is_compared_when_the_runtime_is_chosen_later(timer, model, measuring):
    _, record = HALF.apply(model, replace(measuring, runtime=AUTO))
    assert "measured_cost" in record.done


def test_pruned_model_is_kept_with_a_note_when_the_comparison_fails(timer, model, measuring, monkeypatch):
    def failing(self, files):
        raise MeasureError("The worker ended.")

    monkeypatch.setattr(type(timer), "__call__", failing)
    _, record = HALF.apply(model, measuring)
    assert record.changed
    assert ("comparison of costs", "The worker ended.") in [(each.what, each.why) for each in record.declined]


def test_pruned_model_is_kept_when_it_is_not_shown_to_cost_more(timer, model, measuring, monkeypatch):
    steady = type(timer).__call__

    def unsteady(self, files):
        found = steady(self, files)
        windows = found["pruned"].windows_j
        uneven = tuple(each * factor for each, factor in zip(windows, itertools.cycle((0.99, 1.0, 1.01))))
        return {**found, "pruned": replace(found["pruned"], windows_j=uneven)}

    monkeypatch.setattr(type(timer), "weights", lambda self, file: 1000 + file.path.name.startswith("pruned"))
    monkeypatch.setattr(type(timer), "__call__", unsteady)
    _, record = HALF.apply(model, measuring)
    assert record.changed
    assert record.done["measured_cost"]["share"]["value"] > 1
