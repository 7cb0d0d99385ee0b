"""The int8 file: types by target, what stays float, agreement with the float file, full fusion in the runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from certify.core.errors import ModelError, UsageError
from compress.exchange.parity import run_onnx
from compress.onnx_graph.graph import Graph
from compress.passes.quantize_static import QuantizeStatic
from compress.testing.counted_source import CountedSource


def _nodes(path, kind):
    return [node for node in onnx.load(path).graph.node if node.op_type == kind]


def _weights(path):
    graph = onnx.load(path).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    inputs = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [tensors[inputs[node.input[1]]] for node in graph.node if node.op_type in ("Conv", "Gemm")]


def _dtype(tensor):
    return onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)


def _operators_run(path, folder):
    """Types of the operators after ONNX Runtime's optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


def test_quantized_file_agrees_with_the_float_file(onnx_file, context):
    quantized, record = QuantizeStatic().apply(onnx_file, context)
    samples = context.preprocess.batch(context.data.validation, range(48))
    wanted, found = run_onnx(onnx_file, samples), run_onnx(quantized, samples)
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.99
    assert quantized.stat().st_size < onnx_file.stat().st_size
    assert record.done["quantized"] == 5
    assert record.done["kept_float"] == 0


def test_batch_stays_dynamic(onnx_file, context):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    first = onnx.load(quantized).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param
    assert not first.dim_value


def test_everything_between_convolutions_is_fused_to_integers(onnx_file, context, tmp_path):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    kinds = _operators_run(quantized, tmp_path)
    assert kinds.count("QLinearConv") == 4
    assert kinds.count("QGemm") == 1
    assert kinds.count("QLinearAdd") == 2
    assert "Conv" not in kinds
    assert "Add" not in kinds


def test_file_holds_no_constant_twice_and_no_zero_point_that_is_the_default(onnx_file, context):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    graph = onnx.load(quantized).graph
    values = [(t.data_type, tuple(t.dims), onnx.numpy_helper.to_array(t).tobytes()) for t in graph.initializer]
    assert len(set(values)) == len(values)
    assert {name for node in graph.node for name in node.input} >= {t.name for t in graph.initializer}
    stored = {t.name for t in graph.initializer}
    restored = {node.output[0]: node for node in _nodes(quantized, "DequantizeLinear") if node.input[0] in stored}
    weights = [restored[node.input[1]] for node in _nodes(quantized, "Conv")]
    biases = [restored[node.input[2]] for kind in ("Conv", "Gemm") for node in _nodes(quantized, kind)]
    assert [len(node.input) for node in (*weights, *biases)] == [2] * (4 + 5)
    (head,) = _nodes(quantized, "Gemm")
    assert len(restored[head.input[1]].input) == 3  # without it, ONNX Runtime multiplies floats


def test_answers_are_the_same_bits_when_the_zero_points_are_written_out(onnx_file, context, tmp_path):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    longer = onnx.load(quantized)
    tensors = {t.name: t for t in longer.graph.initializer}
    for node in longer.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 2:
            zeros = np.zeros(tensors[node.input[1]].dims, _dtype(tensors[node.input[0]]))
            node.input.append(f"{node.name}.zero")
            longer.graph.initializer.append(onnx.numpy_helper.from_array(zeros, f"{node.name}.zero"))
    onnx.save(longer, tmp_path / "longer.onnx")
    samples = context.preprocess.batch(context.data.validation, range(48))
    assert (run_onnx(quantized, samples) == run_onnx(tmp_path / "longer.onnx", samples)).all()
    assert _operators_run(quantized, tmp_path) == _operators_run(tmp_path / "longer.onnx", tmp_path)
    assert quantized.stat().st_size < (tmp_path / "longer.onnx").stat().st_size


def test_logits_are_not_rounded(onnx_file, context):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    graph = onnx.load(quantized).graph
    last = next(node for node in graph.node if graph.output[0].name in node.output)
    assert last.op_type == "Gemm"
    samples = context.preprocess.batch(context.data.validation, range(48))
    assert len(np.unique(run_onnx(quantized, samples))) > 100


@pytest.mark.parametrize(
    ("target", "activations", "largest"),
    [("cpu-vnni", "uint8", 127), ("cpu-avx2", "uint8", 64), ("cpu-arm", "int8", 127)],
)
def test_types_and_ranges_follow_the_target(onnx_file, context, target, activations, largest):
    quantized, record = QuantizeStatic(samples=16, target=target).apply(onnx_file, context)
    assert record.done["activation_type"] == activations
    weights = _weights(quantized)
    assert all(w.dtype == np.int8 for w in weights)
    assert max(int(np.abs(w.astype(np.int32)).max()) for w in weights) in (largest, largest + 1)
    graph = onnx.load(quantized).graph
    zeros = {t.name: t.data_type for t in graph.initializer}
    types = {zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert types == {getattr(onnx.TensorProto, activations.upper())}


def test_weights_have_a_scale_for_each_channel(onnx_file, context):
    quantized, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    graph = onnx.load(quantized).graph
    scales = {t.name: t.dims for t in graph.initializer}
    weight_scales = [
        scales[node.input[1]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0].endswith("weight_quantized")
    ]
    assert [list(dims) for dims in weight_scales if list(dims)] != []


@pytest.mark.parametrize(("options", "kept"), [({"keep_first": True}, 1), ({"keep_last": True}, 1),
                                               ({"keep_first": True, "keep_last": True}, 2)])  # fmt: skip
def test_first_and_last_layers_stay_float_when_requested(onnx_file, context, options, kept):
    quantized, record = QuantizeStatic(samples=16, **options).apply(onnx_file, context)
    assert record.done["kept_float"] == kept
    assert all("keeps it float" in declined.why for declined in record.declined)
    if options == {"keep_last": True}:
        assert onnx.load(quantized).graph.node[-1].op_type == "Gemm"


def test_named_node_stays_float(onnx_file, context):
    _, whole = QuantizeStatic(samples=16, keep_first=True, keep_last=True).apply(onnx_file, context)
    name = whole.declined[0].what
    _, record = QuantizeStatic(samples=16, keep_nodes=(name,)).apply(onnx_file, context)
    assert [declined.what for declined in record.declined] == [name]


def test_unknown_node_is_refused(onnx_file, context):
    with pytest.raises(UsageError, match="keep_nodes"):
        QuantizeStatic(keep_nodes=("no_such_node",)).apply(onnx_file, context)


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_calibration_methods_give_a_runnable_model(onnx_file, context, calibration):
    quantized, record = QuantizeStatic(samples=24, batch=8, calibration=calibration).apply(onnx_file, context)
    assert record.done["calibration_samples"] == 24
    assert np.isfinite(run_onnx(quantized, context.sample(3).numpy())).all()


def test_each_calibration_sample_runs_once_through_the_float_model(onnx_file, context):
    counted = CountedSource(context.data.calibration)
    images = replace(context, data=replace(context.data, calibration=counted.split()))
    QuantizeStatic(samples=40, batch=8).apply(onnx_file, images)
    floats, integers = 40, 32  # the outputs of the quantized model are compared on the first samples
    assert counted.reads == floats + integers


def test_first_samples_and_the_rest_give_the_ranges_of_all(onnx_file, context):
    _, few = QuantizeStatic(samples=32, batch=8).apply(onnx_file, context)
    made, all_ = QuantizeStatic(samples=44, batch=8).apply(onnx_file, context)
    assert (few.done["calibration_samples"], all_.done["calibration_samples"]) == (32, 44)
    graph = Graph(onnx.load(made))
    entry = next(node for node in graph.nodes if node.op_type == "QuantizeLinear")
    scale, zero = (graph.constant(name) for name in entry.input[1:])
    order = np.random.default_rng(context.seed).permutation(len(context.data.calibration))[:44]
    seen = context.preprocess.batch(context.data.calibration, order)
    ends = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
    assert (ends[1] - ends[0]) / 255 == pytest.approx(float(scale), rel=1e-5)
    assert zero == round(-ends[0] / float(scale))


def test_percentile_narrows_the_range(onnx_file, context):
    scales = []
    for percentile in (100.0, 90.0):
        config = QuantizeStatic(samples=24, calibration="percentile", percentile=percentile)
        result, _ = config.apply(onnx_file, context)
        graph = onnx.load(result).graph
        values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
        scales.append(sum(float(values[n.input[1]]) for n in graph.node if n.op_type == "QuantizeLinear"))
    assert scales[1] < scales[0]


def test_model_is_declined_when_it_is_already_quantized(onnx_file, context):
    once, _ = QuantizeStatic(samples=16).apply(onnx_file, context)
    again, record = QuantizeStatic(samples=16).apply(once, context)
    assert again == once
    assert not record.changed
    assert sorted(p.name for p in context.workspace.iterdir()) == ["float.int8.onnx", "float.onnx"]


def test_damaged_file_is_refused_and_leaves_nothing(context, tmp_path):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError):
        QuantizeStatic().apply(path, context)
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.onnx"]
