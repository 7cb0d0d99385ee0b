from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import default_preprocess
from compress.core import onnx_file
from compress.exchange import onnx_export as exporting
from compress.exchange.onnx_export import export
from compress.exchange.parity import Parity, run_onnx


@pytest.fixture
def preprocess(dataset):
    return replace(default_preprocess(dataset), input_name="image", output_name="scores")


def test_export_writes_one_file_that_agrees_and_has_the_contract_s_names(model, preprocess, tmp_path, capsys):
    path = tmp_path / "folder" / "model.onnx"
    record = export(model, preprocess, path, classes=4)
    assert (record.exporter, record.opset, record.declined) == ("dynamo", exporting.OPSET, None)
    assert record.parity.holds and record.parity.samples == exporting.CHECKED_SAMPLES
    assert list(path.parent.iterdir()) == [path]
    graph = onnx.load(path).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "scores"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[1:]] == [3, 32, 32]
    assert capsys.readouterr().out == ""


def test_export_folds_batch_normalisation_and_states_the_opset(model, preprocess, tmp_path):
    export(model, preprocess, tmp_path / "model.onnx", classes=4)
    written = onnx.load(tmp_path / "model.onnx")
    assert "BatchNormalization" not in {node.op_type for node in written.graph.node}
    assert [(o.domain, o.version) for o in written.opset_import] == [("", exporting.OPSET)]


def test_export_does_not_change_the_model(model, preprocess, tmp_path):
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export(model, preprocess, tmp_path / "model.onnx", classes=4)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_export_compares_on_given_samples_as_well_as_noise(model, preprocess, tmp_path):
    samples = np.ones((3, 3, 32, 32), dtype=np.float32)
    record = export(model, preprocess, tmp_path / "m.onnx", classes=4, samples=samples)
    assert record.parity.samples == exporting.CHECKED_SAMPLES + 3


def test_export_takes_the_older_exporter_when_the_current_one_disagrees(model, preprocess, tmp_path, monkeypatch):
    real, results = exporting.compare, iter([Parity(8, 0.5, 0.9)])
    monkeypatch.setattr(exporting, "compare", lambda *given: next(results, None) or real(*given))
    record = export(model, preprocess, tmp_path / "m.onnx", classes=4)
    assert record.exporter == "torchscript" and record.parity.holds
    assert "dynamo exporter's file disagrees" in record.declined
    assert run_onnx(tmp_path / "m.onnx", np.zeros((5, 3, 32, 32), dtype=np.float32)).shape == (5, 4)


class Forward(nn.Module):
    """A linear classifier of the images' means, with a forward pass that a test chooses."""

    def __init__(self, steps) -> None:
        super().__init__()
        self.head, self.other, self.steps = nn.Linear(3, 4), nn.Linear(3, 4), steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.steps(self, x, x.mean((2, 3)))


def branch(net, x, means):
    return net.head(means) if x.mean() > 0.5 else net.other(means)


def early_exit(net, x, means):
    for head in (net.head, net.other):
        scores = head(means)
        if scores.softmax(1).max().item() > 0.9:
            break
    return scores


def through_numpy(net, x, means):
    return net.head(means) * (2.0 if x.detach().numpy().mean() > 0.5 else 1.0)


def to_list(net, x, means):
    return net.head(means) * (2.0 if max(means.flatten().tolist()) > 0.9 else 1.0)


@pytest.mark.parametrize("steps", [branch, early_exit, through_numpy, to_list])
def test_export_refuses_a_branch_on_values_that_noise_never_takes(steps, preprocess, tmp_path, capfd):
    words = r"dynamo exporter failed: .*torchscript exporter's file freezes a choice.*test_onnx_export.py:\d+"
    with pytest.raises(ModelError, match=words) as raised:
        export(Forward(steps), preprocess, tmp_path / "m.onnx", classes=4)
    assert "\x1b" not in str(raised.value) and "Next steps" not in str(raised.value)  # torch colours its errors
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def asserted(net, x, means):
    assert not means.isnan().any()
    return net.head(means)


def test_export_takes_the_older_exporter_when_values_only_fail_an_assertion(preprocess, tmp_path):
    assert export(Forward(asserted), preprocess, tmp_path / "m.onnx", classes=4).exporter == "torchscript"


def brighter(net, x, means):
    """A choice that no exporter sees, for the model hides it from them."""
    hidden = torch.jit.is_tracing() or torch.compiler.is_exporting()
    return net.head(means) if hidden else torch.where(means.mean() > 0.5, net.other(means), net.head(means))


def test_export_refuses_a_file_that_agrees_on_noise_and_not_on_real_samples(preprocess, tmp_path):
    model, bright = Forward(brighter), np.ones((3, 3, 32, 32), dtype=np.float32)
    assert export(model, preprocess, tmp_path / "m.onnx", classes=4).parity.holds
    words = "dynamo exporter's file disagrees.*torchscript exporter's file disagrees"
    with pytest.raises(ModelError, match=words):
        export(model, preprocess, tmp_path / "other.onnx", classes=4, samples=bright)


def test_export_reports_the_error_of_each_exporter_and_prints_nothing(preprocess, tmp_path, capfd):
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(ModelError, match="dynamo exporter.*torchscript exporter failed: AssertionError"):
        export(model, preprocess, tmp_path / "m.onnx", classes=4)
    assert capfd.readouterr() == ("", "")


def test_export_keeps_an_older_file_when_it_fails(preprocess, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"older")
    with pytest.raises(ModelError):
        export(Forward(branch), preprocess, tmp_path / "m.onnx", classes=4)
    assert (tmp_path / "m.onnx").read_bytes() == b"older"


def test_export_refuses_outputs_of_another_width(model, preprocess, tmp_path):
    with pytest.raises(ModelError, match=r"\(8, 4\).*classifier of 10"):
        export(model, preprocess, tmp_path / "m.onnx", classes=10)


def test_export_refuses_outputs_that_are_not_finite(model, preprocess, tmp_path):
    with torch.no_grad():
        model.head.weight[0, 0] = float("inf")
    with pytest.raises(ModelError, match="not finite"):
        export(model, preprocess, tmp_path / "m.onnx", classes=4)


def test_export_writes_external_weights_when_they_exceed_a_protobuf_message(model, preprocess, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "INLINE_BYTES", 100)
    assert export(model, preprocess, tmp_path / "m.onnx", classes=4).parity.holds
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert run_onnx(tmp_path / "m.onnx", np.zeros((2, 3, 32, 32), dtype=np.float32)).shape == (2, 4)
