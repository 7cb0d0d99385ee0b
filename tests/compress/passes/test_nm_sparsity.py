"""Two of four weights are zero and stay so, where somebody profits from it."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
import torch
from onnx import numpy_helper

from compress.core.model_stats import state_digest
from compress.core.targets import TARGETS
from compress.exchange.onnx_export import export
from compress.passes.distill import Distill
from compress.passes.nm_sparsity import NmSparsity
from compress.pruning.nm_sparsity import largest_of_four


def test_largest_of_four_are_kept_along_the_inputs():
    weight = torch.tensor([[1.0, -4.0, 3.0, 0.5, 0.1, 0.2, -0.3, 0.4]])
    assert largest_of_four(weight).tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]
    kernel = torch.randn(5, 8, 3, 3)
    mask = largest_of_four(kernel)
    assert torch.equal(mask.view(5, 2, 4, 3, 3).sum(2), torch.full((5, 2, 3, 3), 2.0))
    assert (kernel.abs() * mask).sum() >= 0.5 * kernel.abs().sum()


def test_pattern_survives_training_and_export(model, context, tmp_path):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    context = replace(context, target=TARGETS["cuda-tensorrt"], teacher=taught)
    sparse, record = NmSparsity(epochs=3, lr=5e-3, batch=16).apply(taught, context)
    assert record.done["layers"] == ["first.0", "down.0", "second.0"] and record.done["pattern"] == "2:4"
    assert {d.what for d in record.declined} == {"stem.0", "head"}
    assert record.done["validation_accuracy"] > 0.9
    export(sparse, context.preprocess, tmp_path / "m.onnx", classes=4)
    graph = onnx.load(tmp_path / "m.onnx").graph
    kernels = [w for w in map(numpy_helper.to_array, graph.initializer) if w.ndim == 4 and w.shape[1] % 4 == 0]
    assert len(kernels) == 3
    for kernel in kernels:
        fours = abs(kernel).reshape(kernel.shape[0], -1, 4, *kernel.shape[2:])
        assert ((fours > 0).sum(axis=2) <= 2).all()


@pytest.mark.parametrize("target", ["cpu-vnni", "cpu-avx2", "cpu-arm", "openvino", "openvino-avx2"])
def test_model_is_declined_when_its_target_multiplies_zeros(model, context, target):
    same, record = NmSparsity().apply(model, replace(context, target=TARGETS[target]))
    assert not record.changed and "nothing would be saved" in record.declined[0].why
    assert state_digest(same) == state_digest(model)
