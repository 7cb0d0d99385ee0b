"""Single channels that would widen the range of all others are multiplied apart, and the others are rounded finer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from certify.data import Dataset
from certify.data.array_contract import ArrayPreprocess
from certify.data.named_arrays import named_split
from compress.core.targets import choose
from compress.exchange.parity import run_onnx
from compress.onnx_graph.graph import Graph, probe, signal_to_noise_db
from compress.passes import PassContext, PassData
from compress.passes.quantize_static import QuantizeStatic
from compress.quantization.post_training.calibration import RangeRecorder
from compress.quantization.post_training.channel_ends import ChannelRecorder
from compress.quantization.post_training.float_changes import Candidates, change
from compress.quantization.post_training.outlier_channels import products_with_outliers, split_off
from compress.quantization.post_training.recording import record

WIDE, NARROW = 32, 16


def mlp(outliers: tuple[int, ...] = (5,), *, bias: bool = True, read_twice: bool = False) -> onnx.ModelProto:
    """An MLP after a LayerNorm, of whose hidden channels some are twelve times as large as the others."""
    random = np.random.default_rng(0)
    up = random.standard_normal((NARROW, WIDE)).astype(np.float32)
    up[:, list(outliers)] *= 12
    down = random.standard_normal((WIDE, NARROW)).astype(np.float32)
    tensors = {"up": up, "down": down, "shift": random.standard_normal(NARROW).astype(np.float32)}
    tensors |= {"scale": np.ones(NARROW, np.float32), "zero": np.zeros(NARROW, np.float32)}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "zero"], ["n"], "norm"),
        helper.make_node("MatMul", ["n", "up"], ["u"], "first"),
        helper.make_node("Relu", ["u"], ["h"], "relu"),
        helper.make_node("MatMul", ["h", "down"], ["m" if bias else "y"], "second"),
    ]
    if bias:
        nodes.append(helper.make_node("Add", ["m", "shift"], ["y"], "bias"))
    ends = [[helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4, NARROW])] for name in ("x", "y")]
    if read_twice:
        nodes.append(helper.make_node("Abs", ["h"], ["also"], "abs"))
        ends[1].append(helper.make_tensor_value_info("also", onnx.TensorProto.FLOAT, ["n", 4, WIDE]))
    graph = helper.make_graph(nodes, "mlp", *ends, [numpy_helper.from_array(v, k) for k, v in tensors.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(made)


def samples() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((48, 4, NARROW)).astype(np.float32)


def found_in(graph: Graph, most: int = 2) -> dict[str, list[int]]:
    ends = ChannelRecorder(graph, {"n": NARROW, "h": WIDE})
    record(graph, [ends], [{"x": samples()}])
    return products_with_outliers(graph, ends.largest, most, ["first"])


@pytest.mark.parametrize(
    ("outliers", "most", "found"), [((5,), 2, [5]), ((9, 3), 2, [3, 9]), ((9, 3), 1, None), ((), 2, None)]
)
def test_channels_are_outliers_when_the_range_halves_without_them(outliers, most: int, found) -> None:
    assert found_in(Graph(mlp(outliers)), most) == ({} if found is None else {"second": found})


def test_input_that_something_else_reads_keeps_its_channels() -> None:
    assert found_in(Graph(mlp(read_twice=True))) == {}


@pytest.mark.parametrize("bias", [True, False])
def test_model_computes_the_same_when_channels_are_split_off(bias: bool) -> None:
    graph = Graph(mlp((9, 3), bias=bias))
    (wanted,) = [each["y"] for each in probe(graph.model, ["y"], [{"x": samples()}])]
    names = split_off(graph, found_in(graph))
    onnx.checker.check_model(graph.model, full_check=True)
    assert set(names) <= {node.name for node in graph.model.graph.node} and len(names) == 6
    assert not numpy_helper.to_array(graph.tensors["down"])[[3, 9]].any()
    (found,) = [each["y"] for each in probe(graph.model, ["y"], [{"x": samples()}])]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def prepared_context(path, folder) -> PassContext:
    """A context whose calibration samples are those above."""
    split = named_split({"x": samples()}, np.arange(48) % 2, "samples")
    onnx.save(mlp(), path)
    dataset = Dataset("samples", "samples", ("a", "b"), None, split, None, split, input_size=())
    contract = ArrayPreprocess(("x",), ((4, NARROW),), ("float32",), "y", "logits")
    return PassContext(PassData.without_test(dataset), contract, choose("cpu-vnni"), workspace=folder)


@pytest.mark.parametrize("calibration", ["minmax", "mse"])
def test_samples_run_once_when_channels_are_smoothed_and_split_off(tmp_path, monkeypatch, calibration: str) -> None:
    path, rows, feed = tmp_path / "float.onnx", [], ArrayPreprocess.feed
    context = prepared_context(path, tmp_path)
    monkeypatch.setattr(ArrayPreprocess, "feed", lambda self, of, each: rows.extend(each) or feed(self, of, each))
    _, record = QuantizeStatic(calibration=calibration, samples=48).apply(path, context)
    assert (record.done["smoothed"], record.done["outlier_channels"]) == (1, {"second": [5]})
    floats, integers = 48, 32  # the outputs of the quantized model are compared on the first samples
    assert len(rows) == floats + integers


@pytest.mark.parametrize("read_twice", [False, True])
def test_ranges_of_the_changed_model_follow_from_those_before(read_twice: bool) -> None:
    graph, feeds = Graph(mlp((9, 3), read_twice=read_twice)), [{"x": samples()}]
    found = Candidates.of(graph, smooths=True, splits=True)
    ends = ChannelRecorder(graph, found.channels(graph), sampled=True)
    record(graph, [ends], feeds)
    done = change(graph, found, ends.largest, 0.5, 2)
    after = Graph(graph.model)
    known = done.known(["n", "h"], ends, {})
    assert done.left_out == ({} if read_twice else {"h": [3, 9]})
    recorder = RangeRecorder(after, ["n", "h"], ignored=done.left_out)
    record(after, [recorder], feeds)
    for name, wanted in recorder.statistics.items():
        assert (known[name].low, known[name].high) == pytest.approx((wanted.low, wanted.high), rel=1e-5)
        histogram = known[name].histogram
        assert histogram.total > 0.7 * min(samples().size, 1 << 11)
        values = histogram.centres[histogram.counts > 0]
        assert wanted.low - histogram.width <= values.min() and values.max() <= wanted.high + histogram.width
    assert done.means({"first": np.ones((1, NARROW)), "second": np.ones((1, WIDE))})["first"] == pytest.approx(
        1 / done.factors["first"][None]
    )


def test_range_of_a_divided_norm_is_recorded_again_when_an_operator_passes_it_on() -> None:
    model = mlp((9, 3))
    model.graph.node[1].input[0] = "passed"
    model.graph.node.insert(1, helper.make_node("Identity", ["n"], ["passed"], "pass"))
    graph, feeds = Graph(onnx.shape_inference.infer_shapes(model)), [{"x": samples()}]
    found = Candidates.of(graph, smooths=True, splits=True)
    ends, before = ChannelRecorder(graph, found.channels(graph)), RangeRecorder(graph, ["n", "passed"])
    record(graph, [ends, before], feeds)
    done = change(graph, found, ends.largest, 0.5, 2)
    after = RangeRecorder(Graph(graph.model), ["n", "passed"])
    record(Graph(graph.model), [after], feeds)
    assert after.statistics["n"].high > 1.5 * before.statistics["n"].high
    known = done.known(["n", "passed"], ends, before.statistics)
    assert set(known) == {"passed"} and known["passed"].high == pytest.approx(after.statistics["passed"].high, rel=1e-5)


@pytest.mark.parametrize("calibration", ["minmax", "mse"])
def test_quantized_file_is_closer_when_outliers_are_multiplied_apart(tmp_path, calibration: str) -> None:
    path = tmp_path / "float.onnx"
    context = prepared_context(path, tmp_path)
    wanted, noise = run_onnx(path, samples()), {}
    for most in (0, 2):
        made, record = QuantizeStatic(outliers=most, calibration=calibration).apply(path, context)
        noise[most] = signal_to_noise_db(wanted, run_onnx(made, samples()))
        assert record.done.get("outlier_channels") == ({"second": [5]} if most else None)
        assert (record.done["quantized"], record.done["kept_float"]) == (2, 0)
    assert noise[2] > noise[0] + 3
    graph = Graph(onnx.load(made))
    (take,) = [node for node in graph.nodes if node.op_type == "Gather"]
    assert graph.producers[take.input[0]].op_type == "Relu"  # not what was rounded, which the range cuts off
