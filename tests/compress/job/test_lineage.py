"""The lineage fits the referee's schema, and what it says about cost is measured."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from certify.core.errors import CertificateError, MeasureError
from certify.core.estimate import EvidenceLevel
from certify.core.schema import validate
from certify.measure.meters import Choice
from compress.core.model_stats import ModelStats, count_macs, of_module, state_digest
from compress.core.step_cost import StepCost, mark_unmetered, metered
from compress.job import recipe
from compress.job.lineage import BaselineRow, Lineage, Row, describe_data
from compress.job.output import certify_command
from compress.passes import Declined, PassRecord
from compress.passes.distill import Distill
from compress.passes.structured_prune import StructuredPrune

FACTS = ModelStats("0" * 64, 10, 20, 40)


def _row(declined=()):
    record = PassRecord({"macs_share": 0.5}, declined)
    return Row.of(StructuredPrune(), "1" * 64, FACTS, 0.75, StepCost(1.5, None, cpu_s=1.25), record)


def _lineage(dataset, **changed):
    values = {
        "model": {"spec": "tiny", "origin": "made here", "weights": None},
        "data": describe_data(dataset),
        "recipe": recipe.load("balanced"),
        "seed": 0,
        "baseline": BaselineRow(FACTS, None, trained_here=False),
        "rows": (_row((Declined("head", "it is the head"),)),),
        "export": {
            "exporter": "dynamo",
            "opset": 20,
            "parity": {"samples": 8, "top1_agreement": 1.0, "max_relative_difference": 1e-6},
            "declined": [],
        },
        "artifacts": {"model.onnx": "2" * 64},
    }
    return Lineage(**{**values, **changed})


def test_written_lineage_names_no_folder_of_this_machine(dataset):
    row = Row.of(
        Distill(teacher="nets:big", teacher_weights="/mnt/lab7/big.pt"), "1" * 64, FACTS, 0.75,
        StepCost(1.5, None, cpu_s=1.25), PassRecord({}),
    )  # fmt: skip
    spec = "imagefolder:/mnt/lab7/photos"
    lineage = _lineage(
        replace(dataset, spec=spec), rows=(row,),
        model={"spec": "net.onnx", "origin": "made here", "weights": "/mnt/lab7/net.pt"},
    )  # fmt: skip
    values = json.loads(lineage.content())
    assert "lab7" not in lineage.content().decode()
    assert (values["model"]["weights"], values["data"]["spec"]) == ("net.pt", "imagefolder:photos")
    assert values["rows"][0]["config"]["teacher_weights"] == "big.pt"
    assert spec in certify_command(Path("out"), lineage, spec)  # the command still finds them


def test_lineage_fits_the_schema_and_is_written_completely(dataset, tmp_path):
    path = tmp_path / "lineage.json"
    _lineage(dataset).write(path)
    values = json.loads(path.read_text())
    validate(values, "lineage-1")
    assert values["rows"][0]["pass"] == "structured_prune"
    assert values["rows"][0]["config"]["macs"] == 0.5
    assert values["rows"][0]["declined"] == [{"what": "head", "why": "it is the head"}]
    assert values["data"]["counts"] == {"train": 128, "calibration": 48, "validation": 48, "test": 64}


def test_lineage_is_refused_and_not_written_when_it_does_not_fit(dataset, tmp_path):
    path = tmp_path / "lineage.json"
    with pytest.raises(CertificateError):
        _lineage(dataset, artifacts={"model.onnx": "no digest"}).write(path)
    assert not path.exists()


def test_row_survives_json():
    row = _row((Declined("a", "b"),))
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row and row.cpu_s == 1.25


def test_digest_of_the_test_part_is_that_of_the_data_set(dataset):
    assert describe_data(dataset)["digests"]["test"] == dataset.test_digest()


def test_spending_measures_time_and_joules():
    with metered() as cost:
        # Both clocks: CPU time ticks on its own, and joules need some of it to have passed.
        wall, cpu = time.perf_counter() + 0.2, time.process_time() + 0.1
        while time.perf_counter() < wall or time.process_time() < cpu:
            pass
    assert 0.2 <= cost.seconds < 60
    assert cost.cpu_s is not None and 0.1 <= cost.cpu_s < 60
    assert cost.energy is not None
    assert cost.energy.unit == "J"
    assert 0 < cost.energy.low <= cost.energy.value <= cost.energy.high
    if cost.energy.evidence is EvidenceLevel.MODELLED:
        assert cost.energy.low < cost.energy.value


def test_spending_is_filled_when_the_block_fails():
    with pytest.raises(KeyError), metered() as cost:
        raise KeyError
    assert cost.energy is not None


def test_joules_are_absent_and_seconds_are_counted_when_another_process_took_part():
    with metered() as cost:
        mark_unmetered(100.0)
    assert cost.energy is None and cost.cpu_s is None and 100 <= cost.seconds < 160


def test_facts_of_a_module_count_weights_and_multiply_adds(model, context):
    facts = of_module(model, context.sample(1))
    convolutions = (3 * 16 * 9 + 16 * 16 * 9) * 16 * 16 + (16 * 32 * 9 + 32 * 32 * 9) * 8 * 8
    assert facts.macs == convolutions + 32 * 4
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    assert not model.training


def test_work_is_kept_without_joules_when_the_meter_fails_at_the_end(monkeypatch):
    class Failing:
        def start(self):
            pass

        def stop(self, usage):
            raise MeasureError("the counter is gone")

    monkeypatch.setattr("compress.core.step_cost.choose", lambda device: Choice(Failing(), {}))
    with metered() as cost:
        made = 3
    assert made == 3 and cost.energy is None and cost.seconds >= 0


class Token(nn.Module):
    """A parameter is what a module takes, as the class tokens of some transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.part = nn.Parameter(torch.randn(1, 8)), nn.Linear(8, 4)
        self.part.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(self.token) + self.part(x)


def test_multiply_adds_are_counted_when_a_parameter_is_passed_to_a_module():
    model = Token()
    assert count_macs(model, torch.randn(1, 8)) == 2 * 8 * 4  # an AssertionError of torch's counter left it
    assert [p.requires_grad for p in model.parameters()] == [True, True, False]


class Attention(nn.Module):
    """Attention as torch's own functions and modules call its fused kernels."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, bias=False, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "function":
            heads = x.unflatten(2, (2, 4)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return self.layer(x) if self.kind == "layer" else self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize(("kind", "projections"), [("function", 0), ("module", 4 * 8 * 8), ("layer", 4 * 8 * 8 + 256)])
def test_both_products_of_attention_are_counted_for_every_kernel(kind, projections):
    tokens, width = 5, 8
    macs = count_macs(Attention(kind), torch.randn(1, tokens, width))
    assert macs == tokens * projections + 2 * tokens * tokens * width


def test_state_digest_changes_when_one_weight_does(model):
    before = state_digest(model)
    model.head.bias.data[0] += 1e-3
    assert state_digest(model) != before
