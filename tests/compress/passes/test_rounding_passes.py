"""What the passes for weights, dynamic ranges and 16-bit floats decline, and how they say so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from certify.core.errors import UsageError
from compress.onnx_graph.graph import Graph
from compress.passes.half import Half
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.quantize_weights import QuantizeWeights
from compress.quantization.post_training.float16 import converted


def test_dynamic_declines_a_convolutional_network(onnx_file, context):
    made, record = QuantizeDynamic().apply(onnx_file, context)
    assert made == onnx_file
    assert not record.changed
    assert "convolutions do not benefit" in record.declined[0].why


def test_convolutions_keep_their_float_weights_and_are_named(onnx_file, context):
    made, record = QuantizeWeights(block=16).apply(onnx_file, context)
    assert [each.what for each in record.declined] == ["4 Conv"]
    assert record.done["quantized"] == 1
    kinds = [node.op_type for node in onnx.load(made).graph.node]
    assert kinds.count("Conv") == 4
    assert kinds.count("MatMulNBits") == 1


@pytest.mark.parametrize("applied", [QuantizeWeights, QuantizeDynamic, Half])
def test_unknown_node_is_refused(onnx_file, context, applied):
    with pytest.raises(UsageError, match="keep_nodes"):
        applied(keep_nodes=("no_such_node",)).apply(onnx_file, context)


def _larger(path, factor):
    """The last convolution gives ``factor`` times as much, and the classifier takes it back."""
    model = onnx.load(path)
    graph = Graph(model)
    first, last = graph.weighted()[-2:]
    for index in (1, 2):
        graph.set(first, index, graph.constant(first.input[index]) * np.float32(factor))
    graph.set(last, 1, graph.constant(last.input[1]) / np.float32(factor))
    onnx.save(model, path)
    return first.name


def test_operators_that_would_overflow_stay_in_32_bits(onnx_file, context):
    assert Half(samples=16).apply(onnx_file, context)[1].declined == ()
    name = _larger(onnx_file, 1e5)
    halved, record = Half(samples=16).apply(onnx_file, context)
    assert name in {each.what for each in record.declined}, record
    assert all("beyond the range of fp16" in each.why for each in record.declined)
    assert record.done["signal_to_noise_db"] > 40
    weights = {t.name: t for t in onnx.load(halved).graph.initializer}
    kinds = {weights[n.input[1]].data_type for n in onnx.load(halved).graph.node if n.op_type == "Conv"}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}


def test_bfloat16_is_declined_with_the_reason_when_the_runtime_has_no_kernels(onnx_file, context):
    halved, record = Half(kind="bf16", samples=16).apply(onnx_file, context)
    assert halved == onnx_file
    assert "does not run it in bf16" in record.declined[0].why


def test_bfloat16_file_is_valid_and_its_weights_are_the_rounded_ones(onnx_file):
    model = onnx.load(onnx_file)
    halved = converted(model, "bf16", ())
    onnx.checker.check_model(halved, full_check=True)
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    rounded = [t for t in halved.graph.initializer if t.data_type == onnx.TensorProto.BFLOAT16]
    assert rounded
    for tensor in rounded:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        np.testing.assert_allclose(values, before[tensor.name], rtol=2**-8)


def test_layers_return_to_float_until_the_loss_fits(onnx_file, context, monkeypatch):
    from compress.quantization.post_training import quantizer

    def loss(self, made):
        floats = len(Graph(made).weighted())
        return quantizer.Loss(*[0.5 if floats >= 2 else 9.0] * 2)

    monkeypatch.setattr(quantizer.Quantizer, "loss", loss)
    made, record = QuantizeStatic(samples=16, max_loss=1.0).apply(onnx_file, context)
    assert len(record.done["left_float"]) == record.done["kept_float"] == 2
    assert record.done["validation_loss_percent"] == 0.5
    assert all("above the budget" in each.why for each in record.declined)


@pytest.mark.parametrize("settings", [{}, {"max_float": 0.0}, {"equalize": True}])
def test_pass_declines_when_the_budget_cannot_be_met(onnx_file, context, monkeypatch, settings):
    from compress.quantization.post_training import quantizer

    monkeypatch.setattr(quantizer.Quantizer, "loss", lambda self, made: quantizer.Loss(9.0, 9.0))
    made, record = QuantizeStatic(samples=16, max_loss=1.0, **settings).apply(onnx_file, context)
    assert made == onnx_file and not record.changed
    assert "it loses 9 % of its accuracy" in record.declined[0].why


def test_loss_is_shown_only_beyond_its_sampling_error():
    from compress.quantization.post_training.quantizer import Loss

    before, after = np.ones(100, bool), np.ones(100, bool)
    after[:1] = False
    assert Loss.of(before, after) == Loss(1.0, 0.0)
    after[:25] = False
    assert Loss.of(before, after) == Loss(25.0, 20.0)


def test_saturation_is_recorded_for_the_target_that_saturates(onnx_file, context):
    _, seven = QuantizeStatic(samples=16, target="cpu-avx2").apply(onnx_file, context)
    assert seven.done["saturation"]["share"] == 0.0
    _, eight = QuantizeStatic(samples=16, target="cpu-avx2", reduce_range=False).apply(onnx_file, context)
    assert eight.done["saturation"]["share"] >= 0.0
    _, other = QuantizeStatic(samples=16, target="cpu-vnni").apply(onnx_file, context)
    assert "saturation" not in other.done


def test_fixed_batch_is_padded_and_unnamed_nodes_are_distinguished(onnx_file, context):
    model = onnx.load(onnx_file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    for node in model.graph.node:
        node.name = ""  # names are optional, but layers must still be distinguishable
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(model, onnx_file)
    quantized, record = QuantizeStatic(samples=12, batch=5).apply(onnx_file, context)
    assert record.done["calibration_samples"] == 12
    assert record.done["corrected_biases"] == 5
    assert onnx.load(quantized).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5
