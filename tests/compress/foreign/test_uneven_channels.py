"""int8 of channels with very different ranges: equalised, left in float, or declined, and never ruined."""

from __future__ import annotations

from dataclasses import replace

import foreign_files as foreign
import numpy as np
import onnx
import pytest

from compress.core import onnx_session
from compress.passes.quantize_static import QuantizeStatic


def _uneven(middle, decades):
    """The output channels of the first layer differ by so many decades, and the next layer makes up for it."""
    original = foreign.model(middle)
    factors = np.logspace(-decades / 2, decades / 2, 16)
    weights = {"w1": factors[:, None, None, None], "b1": factors, "w2": 1 / factors[None, :, None, None]}
    for tensor in original.graph.initializer:
        if tensor.name in weights:
            values = (foreign.CONSTANTS[tensor.name] * weights[tensor.name]).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return original


def _correlation(given, made, context):
    feed = context.preprocess.feed(context.data.validation, range(32))
    found = [onnx_session.run(onnx_session.session(path), ["output"], feed)[0] for path in (given, made)]
    return np.corrcoef(*((each - each.mean(axis=0)).ravel() for each in found))[0, 1]


@pytest.mark.parametrize("decades", [4, 6])
@pytest.mark.parametrize("between", ["Identity", "Relu", "MaxPool"])
@pytest.mark.parametrize("budget", [None, 1.0])
def test_layers_are_equalised_when_the_file_would_be_ruined(between, decades, budget, context, tmp_path):
    extra = {"kernel_shape": [1, 1]} if between == "MaxPool" else {}
    source = foreign.write(_uneven([foreign.node(between, "r1", "m", **extra)], decades), tmp_path)
    quantized, record = QuantizeStatic(samples=16).apply(source, replace(context, max_loss_percent=budget))
    assert record.done["equalised_pairs"] and not record.done["kept_float"]
    assert _correlation(source, quantized, context) > 0.95


@pytest.mark.parametrize("budget", [None, 1.0])
@pytest.mark.parametrize(
    ("middle", "settings"),
    [
        ([foreign.node("Add", "r1 small", "m")], {}),
        ([], {"equalize": False}),
        ([], {"equalize": False, "max_float": 0.0}),
    ],
)
def test_pass_declines_when_every_way_would_ruin_the_file(middle, settings, budget, context, tmp_path):
    source = foreign.write(_uneven(middle, 6), tmp_path)
    quantized, record = QuantizeStatic(samples=16, **settings).apply(source, replace(context, max_loss_percent=budget))
    assert quantized == source and not record.changed
    assert "its outputs no longer distinguish samples" in record.declined[0].why
