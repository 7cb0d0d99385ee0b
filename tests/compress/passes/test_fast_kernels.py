"""The pass writes additions before layer normalisations as sums, for ONNX Runtime on the CPU alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from certify.data import default_preprocess
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.onnx_graph import kernel_forms
from compress.passes.fast_kernels import FastKernels
from compress.passes.quantize_static import QuantizeStatic
from compress.testing.networks import Attentive


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("attention") / "given.onnx"
    export(Attentive().eval(), default_preprocess(dataset), path, classes=4)
    return path


@pytest.mark.parametrize("quantized", [False, True])
def test_outputs_stay_the_same_when_additions_become_sums(exported, context, quantized):
    given = QuantizeStatic(samples=16, smooth=0).apply(exported, context)[0] if quantized else exported
    rewritten, record = FastKernels().apply(given, context)
    assert record.done["written"] == {"Add before a layer normalisation as Sum": 2}
    samples = context.preprocess.batch(context.data.validation, range(8))
    wanted, found = run_onnx(given, samples), run_onnx(rewritten, samples)
    assert np.abs(wanted - found).max() <= (0.05 if quantized else 1e-4) * np.abs(wanted).max()  # a step of rounding
    assert [node.op_type for node in onnx.load(rewritten).graph.node].count("Sum") == 2


@pytest.mark.parametrize("target", ["openvino", "openvino-avx2", "cuda-tensorrt"])
def test_file_is_unchanged_when_another_runtime_runs_it(exported, context, target):
    made, record = FastKernels(target=target).apply(exported, context)
    assert made == exported
    assert target in record.declined[0].why


def test_second_pass_declines_when_the_file_is_already_rewritten(exported, context):
    rewritten, _ = FastKernels().apply(exported, context)
    again, record = FastKernels().apply(rewritten, context)
    assert again == rewritten
    assert not record.changed


def test_form_is_declined_when_it_changes_the_outputs(exported, context, monkeypatch):
    def halve(model):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
        last = model.graph.node[-1]
        output, last.output[0] = last.output[0], "whole"
        model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "half"], [output]))
        return 1

    monkeypatch.setattr(kernel_forms, "FORMS", {"output that is halved": halve})
    rewritten, record = FastKernels().apply(exported, context)
    assert rewritten == exported
    assert "outputs move by 0.5 of the largest one" in {each.why for each in record.declined}
