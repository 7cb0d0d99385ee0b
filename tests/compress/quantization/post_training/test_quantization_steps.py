"""Equalisation, smoothing, bias correction, sensitivity and saturation on graphs small enough to follow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.core.errors import ModelError
from compress.core.onnx_session import session
from compress.core.targets import TARGETS
from compress.onnx_graph.graph import Graph, probe, signal_to_noise_db
from compress.quantization.post_training.bias_correction import MeanRecorder, correct_biases, correctable, own_biases
from compress.quantization.post_training.calibration import observe
from compress.quantization.post_training.channel_ends import ChannelRecorder
from compress.quantization.post_training.equalization import equalize
from compress.quantization.post_training.qdq import observed_names, plan, quantized
from compress.quantization.post_training.ranges import value_range
from compress.quantization.post_training.recording import record
from compress.quantization.post_training.saturation import Saturation, simulate
from compress.quantization.post_training.sensitivity import fewest_kept, output_noise
from compress.quantization.post_training.smoothing import find_sites, smooth, smoothing_factors


def floats(*shape, scale=1.0):
    return (scale * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(np.float32)


def mean_inputs(graph, nodes, feeds):
    """The mean of each operator's input, recorded alone."""
    recorder = MeanRecorder(graph, nodes)
    record(graph, [recorder], feeds)
    return recorder.means


def graph_of(nodes, tensors, shape, opset=20):
    """A checked model with inferred shapes; its last node gives ``y``."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    made = helper.make_graph(nodes, "small", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return Graph(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def convolutions(between="Relu", opset=20, limits=()):
    """3x3, activation, depthwise 3x3, activation, 1x1, mean, Gemm; channels of very different sizes."""
    uneven = np.logspace(-1.5, 1.5, 8, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node(between, ["c1", *limits], ["r1"], "act1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", pads=[1] * 4, group=8),
        helper.make_node(between, ["c2", *limits], ["r2"], "act2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "last"),
        helper.make_node("GlobalAveragePool", ["c3"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w4"], ["y"], "head", transB=1),
    ]
    tensors = {
        "w1": floats(8, 3, 3, 3) * uneven[:, None, None, None],
        "b1": floats(8),
        "w2": floats(8, 1, 3, 3) / uneven[:, None, None, None],
        "w3": floats(6, 8, 1, 1),
        "b3": floats(6),
        "w4": floats(4, 6),
    }
    bounds = {"zero": 0.0, "six": 6.0, "most": np.finfo(np.float32).max}
    tensors |= {name: np.float32(bounds[name]) for name in limits if name}
    return graph_of(nodes, tensors, (3, 8, 8), opset)


def images(batches=3, batch=4):
    random = np.random.default_rng(7)
    return [{"x": random.standard_normal((batch, 3, 8, 8)).astype(np.float32) + 0.5} for _ in range(batches)]


def outputs(graph, feeds):
    return np.concatenate([found["y"] for found in probe(graph.model, ["y"], feeds)])


def integers_of(graph, feeds, target="cpu-vnni", per_channel=True):
    chosen = plan(graph, TARGETS[target], "auto", ())
    seen = observe(graph, observed_names(graph, chosen), feeds)
    ranges = {name: value_range(each, "minmax") for name, each in seen.items()}
    return Graph(quantized(graph.model, chosen, ranges, TARGETS[target], per_channel=per_channel))


@pytest.mark.parametrize("opset", [13, 20])
def test_observed_ends_are_those_of_the_values(opset):
    graph, feeds = convolutions(opset=opset), images()
    found = observe(graph, ["x", "c1"], feeds, histograms=True)
    whole = np.concatenate([each["c1"] for each in probe(graph.model, ["c1"], feeds)])
    assert found["c1"].low == whole.min()
    assert found["c1"].high == whole.max()
    assert found["x"].histogram.total == sum(feed["x"].size for feed in feeds)


def test_value_that_is_not_finite_is_refused_by_name():
    graph = convolutions()
    with pytest.raises(ModelError, match="'x' of the graph is not finite"):
        observe(graph, ["x"], [{"x": np.full((1, 3, 8, 8), np.nan, np.float32)}])


def test_memory_of_calibration_does_not_grow_with_the_samples():
    graph = convolutions()

    def peak(batches):
        feeds = (images(1, 8)[0] for _ in range(batches))
        tracemalloc.start()
        observe(graph, ["x", "r1", "r2", "c3"], feeds, histograms=True)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)
    assert peak(256) <= 1.2 * peak(4)


def test_equalised_model_computes_the_same_and_has_even_ranges():
    graph, feeds = convolutions(), images()
    before = outputs(graph, feeds)
    pairs, declined = equalize(graph)
    assert pairs == 3
    assert [each.what for each in declined] == ["head"]
    np.testing.assert_allclose(outputs(graph, feeds), before, rtol=1e-3, atol=1e-3)
    first = np.abs(graph.constant("w1")).max(axis=(1, 2, 3))
    second = np.abs(graph.constant("w2")).max(axis=(1, 2, 3))
    np.testing.assert_allclose(first, second, rtol=0.02)


def test_equalisation_helps_when_there_is_one_scale_per_tensor():
    graph, feeds = convolutions(), images()
    wanted = outputs(graph, feeds)
    before = signal_to_noise_db(wanted, outputs(integers_of(graph, feeds, per_channel=False), feeds))
    equalize(graph)
    after = signal_to_noise_db(wanted, outputs(integers_of(Graph(graph.model), feeds, per_channel=False), feeds))
    assert after > before + 3


def test_pairs_are_skipped_and_named_when_a_bounded_activation_is_between():
    graph, feeds = convolutions("Clip", limits=("zero", "six")), images()
    before = {name: graph.constant(name) for name in ("w1", "w2")}
    wanted = outputs(graph, feeds)
    pairs, declined = equalize(graph)
    assert pairs == 1  # the last convolution and the head
    why = {each.what: each.why for each in declined}
    assert "act1 between it and depthwise clips at a fixed value (as ReLU6 does)" in why["first"]
    assert "act2 between it and last clips at a fixed value" in why["depthwise"]
    assert all((graph.constant(name) == values).all() for name, values in before.items())
    np.testing.assert_allclose(outputs(graph, feeds), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("limits", [("zero",), ("zero", "most"), ("", "zero"), ()])
def test_equalisation_crosses_a_clip_when_its_only_bound_is_zero(limits):
    graph, feeds = convolutions("Clip", limits=limits), images()
    before = outputs(graph, feeds)
    assert equalize(graph)[0] == 3
    np.testing.assert_allclose(outputs(graph, feeds), before, rtol=1e-3, atol=1e-3)


def test_shared_constant_is_changed_for_one_node_only():
    graph = convolutions()
    node = next(n for n in graph.nodes if n.name == "depthwise")
    node.input[1] = "w1"
    graph = Graph(graph.model)
    node = next(n for n in graph.nodes if n.name == "depthwise")
    before = graph.constant("w1").copy()
    graph.set(node, 1, np.zeros((8, 1, 3, 3), np.float32))
    assert (graph.constant("w1") == before).all()
    assert node.input[1] != "w1"


@pytest.mark.parametrize("opset", [13, 20])
def test_mean_input_is_the_mean_when_batches_differ_in_size(opset):
    graph = convolutions(opset=opset)
    feeds = [*images(1, 4), *images(1, 2)]
    found = mean_inputs(graph, correctable(graph), feeds)
    whole = np.concatenate([feed["x"] for feed in feeds])
    np.testing.assert_allclose(found["first"], whole.mean(axis=0, keepdims=True), rtol=1e-4, atol=1e-5)
    assert found["head"].shape == (1, 6)


@pytest.mark.parametrize("target", ["cpu-vnni", "cuda-tensorrt"])
def test_corrected_biases_cancel_the_mean_error_of_the_weights(target):
    graph, feeds = convolutions(), images()
    own_biases(graph)
    graph = Graph(graph.model)
    wanted = outputs(graph, feeds)
    integers = integers_of(graph, feeds, target, per_channel=False)
    before = np.abs((outputs(integers, feeds) - wanted).mean(axis=0)).sum()
    assert correct_biases(graph, integers, mean_inputs(graph, correctable(graph), feeds)) == 4
    assert np.abs((outputs(integers, feeds) - wanted).mean(axis=0)).sum() < before / 2


def normalised(residual=False):
    """A LayerNorm with one outlier channel before matrix products, added up, and added to its own output or not."""
    scale = np.ones(16, np.float32)
    scale[3] = 40
    nodes = [helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["n"], "norm")]
    nodes.append(helper.make_node("Reshape", ["n", "rows"], ["r"], "reshape"))
    for i, taken in enumerate(["n", "r"]):
        nodes.append(helper.make_node("MatMul", [taken, f"w{i}"], [f"m{i}"], f"product{i}"))
    nodes.append(helper.make_node("Sum", ["m0", "m1", *["n"] * residual], ["y"], "sum"))
    weight = floats(16, 16)
    weight[3] /= 40
    tensors = {"scale": scale, "shift": floats(16), "w0": weight, "w1": weight.T.copy(), "rows": np.array([0, 5, 16])}
    return graph_of(nodes, tensors, (5, 16))


def tokens():
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((4, 5, 16)).astype(np.float32)} for _ in range(3)]


def factors(graph, feeds):
    """What the norm's channels are divided by."""
    ends = ChannelRecorder(graph, {"n": 16})
    record(graph, [ends], feeds)
    return {"n": smoothing_factors(graph, find_sites(graph)[0][0], ends.largest["n"], 0.5)}


@pytest.mark.parametrize("residual", [False, True])
def test_smoothed_model_computes_the_same_and_rounds_better(residual):
    graph, feeds = normalised(residual), tokens()
    wanted = outputs(graph, feeds)
    before = signal_to_noise_db(wanted, outputs(integers_of(graph, feeds), feeds))
    sites, declined = find_sites(graph)
    inserted = smooth(graph, sites, factors(graph, feeds))
    assert (len(sites), declined) == (1, ())
    assert [node.name for node in graph.model.graph.node if node.op_type == "Mul"] == list(inserted)
    assert len(inserted) == residual
    np.testing.assert_allclose(outputs(graph, feeds), wanted, rtol=1e-3, atol=1e-3)
    assert signal_to_noise_db(wanted, outputs(integers_of(Graph(graph.model), feeds), feeds)) > before + 3


def test_only_products_read_the_multiplication_when_a_norm_feeds_a_residual_too():
    graph = normalised(residual=True)
    (inserted,) = smooth(graph, find_sites(graph)[0], factors(graph, tokens()))
    after = Graph(graph.model)
    onnx.checker.check_model(after.model, full_check=True)
    assert {node.name for node in after.consumers["n"]} == {inserted, "sum"}
    assert {node.name for node in after.consumers[inserted]} == {"product0", "reshape"}
    assert after.is_float(inserted)


def test_norm_is_not_smoothed_when_no_product_reads_it():
    graph = normalised(residual=True)
    graph.tensors["w0"].CopyFrom(numpy_helper.from_array(floats(1, 16, 16), "w0"))  # not the weight of a layer
    graph.tensors["w1"].CopyFrom(numpy_helper.from_array(floats(1, 16, 16), "w1"))
    sites, declined = find_sites(graph)
    assert sites == []
    assert declined[0].what == "norm"
    assert "no matrix product with constant weights reads it" in declined[0].why


def test_noise_is_largest_at_the_perturbed_layer():
    graph, feeds = convolutions(), images()
    integers = integers_of(graph, feeds)
    source = next(n for n in integers.nodes if n.op_type == "DequantizeLinear" and n.output[0].startswith("w3"))
    codes = integers.constant(source.input[0])
    integers.tensors[source.input[0]].CopyFrom(numpy_helper.from_array(codes // 2, source.input[0]))
    noise = dict(output_noise(graph, integers, "y", feeds))
    assert list(noise) == ["first", "depthwise", "last", "head"]
    assert min(noise, key=noise.get) == "last"


@pytest.mark.parametrize("needed", range(1, 9))
def test_fewest_layers_that_fit_are_kept(needed):
    tried = []

    def loss(count):
        tried.append(count)
        return 0.5 if count >= needed else 5.0

    assert fewest_kept(loss, 1.0, 8) == needed
    assert len(tried) == len(set(tried)) <= 7


def test_least_loss_is_chosen_when_nothing_fits():
    assert fewest_kept(lambda count: 10.0 - count, 1.0, 5) == 5


def test_saturation_is_none_with_seven_bits_and_some_with_eight():
    graph, feeds = convolutions(), [{"x": np.ones((4, 3, 8, 8), np.float32)}]
    node = graph.tensors["w1"]
    node.CopyFrom(numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w1"))
    assert simulate(integers_of(graph, feeds, "cpu-avx2"), feeds, 0).share == 0.0
    found = simulate(integers_of(graph, feeds, "cpu-vnni"), feeds, 0)
    assert found.share > 0
    assert found.worst_share == 1.0  # 255 * 127 * 2 in every pair of the first layer
    assert found.worst == "first"


def test_saturation_counts_the_channel_of_a_product_with_a_vector():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = graph_of(nodes, {"w": np.ones(6, np.float32)}, (4, 6))
    feeds = [{"x": np.ones((2, 4, 6), np.float32)}]
    assert simulate(integers_of(graph, feeds, "cpu-avx2"), feeds, 0).share == 0.0
    assert simulate(integers_of(graph, feeds, "cpu-vnni", per_channel=False), feeds, 0).share == 1.0


@pytest.mark.parametrize(
    ("node", "weight"),
    [
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up"), np.ones((4, 3, 2, 5), np.float32)),
        (helper.make_node("Conv", ["x", "w"], ["y"], "narrow", kernel_shape=[1, 1]), np.ones((3, 4, 1, 1), np.float32)),
    ],
)
def test_saturation_pairs_the_input_channels(node, weight):
    graph = graph_of([node], {"w": weight}, (4, 6, 6))
    first = np.array([1, 1, 0, 0], np.float32)[:, None, None]  # so that one of two pairs saturates
    feeds = [{"x": np.broadcast_to(first, (2, 4, 6, 6)).copy()}]
    assert simulate(integers_of(graph, feeds, "openvino"), feeds, 0).share == 0.5


def test_saturation_is_none_when_each_product_is_widened():
    node = helper.make_node("Conv", ["x", "w"], ["y"], "depthwise", group=4)
    graph, feeds = (
        graph_of([node], {"w": np.ones((4, 1, 3, 3), np.float32)}, (4, 6, 6)),
        [{"x": np.ones((2, 4, 6, 6), np.float32)}],
    )
    assert simulate(integers_of(graph, feeds, "cpu-vnni"), feeds, 0) == Saturation(0.0, "", 0.0, 0)


def test_tensorrt_rounds_the_inputs_of_layers_and_not_their_outputs():
    graph, feeds = convolutions(), images()
    integers = integers_of(graph, feeds, "cuda-tensorrt")
    zeros = [integers.constant(n.input[2]) for n in integers.nodes if n.op_type == "QuantizeLinear"]
    assert all(zero == 0 and zero.dtype == np.int8 for zero in zeros)
    assert "y" in integers.outputs and integers.producers["y"].op_type == "Gemm"
    assert session(integers.model).run(None, images()[0])[0].shape == (4, 4)


def maps(nodes, tensors):
    """A model of operators on maps of 4 channels, (n, 4, 6, 6), that gives ``y``."""
    return graph_of(nodes, {"zero": np.float32(0), "one": np.float32(1), "minus": np.float32(-1)} | tensors, (4, 6, 6))


@pytest.mark.parametrize(
    ("kind", "limits", "low"),
    [("Relu", [], True), ("Clip", ["zero", "one"], True), ("Clip", ["zero"], True), ("Clip", ["one"], False),
     ("Clip", ["minus", "one"], False), ("Clip", ["", "one"], False), ("Clip", [], False), ("Tanh", [], False)],
)  # fmt: skip
def test_range_holds_zero_and_both_extremes_when_values_are_observed(kind, limits, low):
    graph = maps([helper.make_node(kind, ["x", *limits], ["y"], "act")], {})
    feeds = [{"x": floats(3, 4, 6, 6) + shift} for shift in (-0.5, 0.5)]
    values = outputs(graph, feeds)
    seen = observe(graph, ["x", "y"], feeds)["y"]
    assert value_range(seen, "minmax") == (min(values.min(), 0), max(values.max(), 0))
    assert (seen.low == 0) == low
    assert observe(graph, ["x"], feeds)["x"].low == min(feed["x"].min() for feed in feeds)


def test_range_is_that_of_the_rows_when_a_relu_is_not_on_maps():
    graph = graph_of([helper.make_node("Relu", ["x"], ["y"], "act")], {}, (5,))
    feeds = [{"x": floats(3, 5)}]
    assert observe(graph, ["y"], feeds)["y"].high == feeds[0]["x"].max()


@pytest.mark.parametrize(
    ("options", "places"),
    [({}, 1), ({"auto_pad": "VALID"}, 1), ({"strides": [2, 2]}, 6), ({"pads": [1] * 4}, 6),
     ({"auto_pad": "SAME_UPPER"}, 6)],
)  # fmt: skip
def test_mean_input_has_one_place_when_a_convolution_reads_each_place_once(options, places):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "c", **options)]
    graph = maps(nodes, {"w": floats(4, 4, 1, 1)})
    feeds = [{"x": floats(n, 4, 6, 6)} for n in (3, 1)]
    found = mean_inputs(graph, graph.weighted(), feeds)["c"]
    wanted = np.concatenate([feed["x"] for feed in feeds]).mean(0, keepdims=True)
    assert found.shape == (1, 4, places, places)
    assert found == pytest.approx(wanted if places > 1 else wanted.mean((2, 3), keepdims=True), abs=1e-6)


def test_threads_of_a_session_do_not_wait_by_spinning():
    running = session(maps([helper.make_node("Relu", ["x"], ["y"], "act")], {}).model)
    assert running.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
