from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node

from certify.measure.yardstick import build as build_yardstick
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.shapes import infer_values


def test_count_matches_the_published_figure_when_resnet50() -> None:
    counts = count(onnx.load_from_string(build_yardstick()))
    assert counts.macs == 4_089_184_256  # 4.09 G, arXiv 1512.03385 with the stride in the 3 x 3 convolution
    assert counts.parameters == 25_530_472  # 25.557 M less the 53,120 of BatchNorm, plus 26,560 folded biases
    assert counts.counted_share == 1.0


@pytest.mark.parametrize(
    ("attributes", "macs"),
    [
        ({}, 6 * 6 * 6 * 27),
        ({"pads": [1] * 4}, 6 * 8 * 8 * 27),
        ({"pads": [1] * 4, "strides": [2, 2]}, 6 * 4 * 4 * 27),
        ({"dilations": [2, 2]}, 6 * 4 * 4 * 27),
    ],
)
def test_count_follows_the_output_size_when_a_convolution_is_shaped(build, conv_weight, attributes, macs) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"], **attributes)], {"w": conv_weight})
    assert count(model).macs == macs


def test_count_divides_by_groups_when_depthwise(build) -> None:
    weight = np.ones((3, 1, 3, 3), dtype=np.float32)
    model = build([make_node("Conv", ["x", "w"], ["y"], group=3, pads=[1] * 4)], {"w": weight})
    assert count(model).macs == 3 * 8 * 8 * 9


def test_count_takes_the_input_size_when_a_convolution_is_transposed(build) -> None:
    weight = np.ones((3, 5, 2, 2), dtype=np.float32)
    model = build([make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])], {"w": weight})
    assert count(model).macs == 3 * 8 * 8 * 5 * 4


@pytest.mark.parametrize("transposed", [0, 1])
def test_count_is_rows_times_columns_when_a_layer_is_dense(build, transposed: int) -> None:
    weight = np.ones((7, 192) if transposed else (192, 7), dtype=np.float32)
    nodes = [make_node("Flatten", ["x"], ["f"]), make_node("Gemm", ["f", "w"], ["y"], transB=transposed)]
    assert count(build(nodes, {"w": weight})).macs == 192 * 7


def test_count_contracts_the_rows_when_the_data_are_transposed(build) -> None:
    weights = {"shape": np.array([6, 32]), "w": np.ones((6, 7), dtype=np.float32)}
    nodes = [make_node("Reshape", ["x", "shape"], ["a"]), make_node("Gemm", ["a", "w"], ["y"], transA=1)]
    assert count(build(nodes, weights)).macs == 32 * 6 * 7  # (6, 32)^T times (6, 7)


def test_count_multiplies_heads_when_activations_are_multiplied(build) -> None:
    nodes = [make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]), make_node("MatMul", ["x", "t"], ["y"])]
    assert count(build(nodes, {})).macs == 3 * 8 * 8 * 8


def test_count_is_the_same_when_a_batch_is_fixed(build, conv_weight) -> None:
    nodes = [make_node("Conv", ["x", "w"], ["y"])]
    assert count(build(nodes, {"w": conv_weight}, shape=(4, 3, 8, 8))).macs == 6 * 6 * 6 * 27


def test_count_takes_rows_and_columns_from_the_contract_when_dynamic(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}, shape=("N", 3, "H", "W"))
    assert count(model, sample=(3, 10, 10)).macs == 6 * 8 * 8 * 27
    assert count(model).not_counted == ("Conv",)


def _quantized(weight: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "w_q": np.clip(weight * 50, -127, 127).astype(np.int8),
        "w_scale": np.full(len(weight), 0.02, dtype=np.float32),
        "w_zero": np.zeros(len(weight), dtype=np.int8),
        "scale": np.array(0.1, dtype=np.float32),
        "zero": np.array(128, dtype=np.uint8),
    }


def test_count_is_that_of_the_float_model_when_the_convolution_is_between_q_and_dq(build, conv_weight) -> None:
    nodes = [
        make_node("QuantizeLinear", ["x", "scale", "zero"], ["x_q"]),
        make_node("DequantizeLinear", ["x_q", "scale", "zero"], ["x_d"]),
        make_node("DequantizeLinear", ["w_q", "w_scale", "w_zero"], ["w_d"], axis=0),
        make_node("Conv", ["x_d", "w_d"], ["y"]),
    ]
    counts = count(build(nodes, _quantized(conv_weight)))
    assert (counts.macs, counts.counted_share) == (6 * 6 * 6 * 27, 1.0)
    assert counts.parameters == conv_weight.size  # neither scales nor zero points


def test_count_sees_through_runtime_operators_when_quantized_ones_follow_each_other(build, conv_weight) -> None:
    point = ["scale", "zero"]
    weights = _quantized(conv_weight)
    weights["w2_q"] = np.ones((2, 6, 1, 1), dtype=np.int8)
    weights["w2_scale"] = np.full(2, 0.02, dtype=np.float32)
    weights["w2_zero"] = np.zeros(2, dtype=np.int8)
    nodes = [
        make_node("QuantizeLinear", ["x", *point], ["x_q"]),
        make_node("QLinearConv", ["x_q", *point, "w_q", "w_scale", "w_zero", *point], ["c"]),
        make_node("QLinearAdd", ["c", *point, "c", *point, *point], ["a"], domain="com.microsoft"),
        make_node("QLinearConv", ["a", *point, "w2_q", "w2_scale", "w2_zero", *point], ["d"]),
        make_node("DequantizeLinear", ["d", *point], ["y"]),
    ]
    counts = count(build(nodes, weights))
    assert counts.macs == 6 * 6 * 6 * 27 + 2 * 6 * 6 * 6
    assert counts.counted_share == 1.0


def test_count_lists_operators_that_it_cannot_count(build, conv_weight) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("Einsum", ["c"], ["e"], equation="bchw->bc"),
        make_node("Mystery", ["e"], ["y"], domain="own"),
    ]
    counts = count(build(nodes, {"w": conv_weight}))
    assert counts.not_counted == ("Einsum", "Mystery")
    assert counts.counted_share == pytest.approx(1 / 3)


def test_count_includes_einsum_when_it_multiplies_two_operands(build, conv_weight) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("Einsum", ["c", "m"], ["y"], equation="bchw, cd -> bdhw"),
    ]
    weights = {"w": conv_weight, "m": np.ones((len(conv_weight), 5), np.float32)}
    counts = count(build(nodes, weights))
    assert counts.counted_share == 1.0
    assert counts.macs == len(conv_weight) * 6 * 6 * (conv_weight[0].size + 5)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_count_multiplies_all_weights_in_each_step_when_recurrent(
    build, kind: str, gates: int, directions: int
) -> None:
    weights = {
        "w": np.ones((directions, gates * 5, 3), np.float32),
        "r": np.ones((directions, gates * 5, 5), np.float32),
    }
    node = make_node(
        kind, ["x", "w", "r"], ["", "y"], hidden_size=5, direction=["forward", "bidirectional"][directions - 1]
    )
    counts = count(build([node], weights, shape=(7, 1, 3)), sample=(1, 3))
    assert (counts.macs, counts.counted_share) == (directions * 7 * gates * 5 * (3 + 5) // 7, 1.0)
    read, written = 4 * directions * gates * 5 * (3 + 5), 4 * directions * 5
    assert counts.bytes_moved == read + (4 * 7 * 3 + written) // 7


def test_all_is_counted_when_sizes_follow_from_the_shapes_of_results(build) -> None:
    """As older exporters write it: each layer cuts what the layer before it made."""
    nodes, value = [], "x"
    for i in range(5):
        nodes += [
            make_node("MatMul", [value, "w"], [f"h{i}"]),
            make_node("Shape", [f"h{i}"], [f"s{i}"]),
            make_node("Gather", [f"s{i}", "last"], [f"n{i}"]),
            make_node("Cast", [f"n{i}"], [f"f{i}"], to=TensorProto.FLOAT),
            make_node("Cast", [f"f{i}"], [f"m{i}"], to=TensorProto.INT64),
            make_node("Range", ["zero", f"m{i}", "one"], [f"r{i}"]),
            make_node("Gather", [f"h{i}", f"r{i}"], [f"y{i}"], axis=3),
        ]
        value = f"y{i}"
    nodes[-1].output[0] = "y"
    weights = {"w": np.ones((8, 8), np.float32), "last": np.array(3), "zero": np.array(0), "one": np.array(1)}
    counts = count(build(nodes, weights))
    assert (counts.counted_share, counts.macs, counts.varying_share) == (1.0, 5 * 3 * 8 * 8 * 8, 0)


def test_count_includes_functions_when_a_model_defines_its_own(build, conv_weight) -> None:
    body = [make_node("Conv", ["a", "b"], ["c"])]
    function = helper.make_function("own", "Wrapped", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    model = build([make_node("Wrapped", ["x", "w"], ["y"], domain="own")], {"w": conv_weight}, functions=[function])
    assert count(model).macs == 6 * 6 * 6 * 27


def test_parameters_exclude_shapes_and_unused_weights(build, conv_weight) -> None:
    weights = {"w": conv_weight, "shape": np.array([-1, 6 * 36]), "unused": np.ones(1000, dtype=np.float32)}
    nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Reshape", ["c", "shape"], ["y"])]
    assert count(build(nodes, weights)).parameters == conv_weight.size


def test_parameters_count_a_shared_weight_once(build) -> None:
    weight = np.ones((3, 3, 1, 1), dtype=np.float32)
    nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Conv", ["c", "w"], ["y"])]
    assert count(build(nodes, {"w": weight})).parameters == 9


def test_shapes_do_not_need_the_values_of_large_weights(build) -> None:
    weight = np.ones((64, 3, 8, 8), dtype=np.float32)
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": weight})
    assert infer_values(model)["y"] == ((1, 64, 1, 1), 32)
    assert model.graph.initializer[0].raw_data  # the model itself is left as it was


def test_macs_are_counted_after_pads_computed_in_the_graph() -> None:
    weight = numpy_helper.from_array(np.ones((4, 8, 3, 3), dtype=np.float32), "w")
    half = numpy_helper.from_array(np.array([0, 0, 0, 0], dtype=np.int64), "half")
    more = numpy_helper.from_array(np.array([0, 5, 0, 0], dtype=np.int64), "more")
    nodes = [
        helper.make_node("Concat", ["half", "more"], ["pads32"], axis=0),
        helper.make_node("Cast", ["pads32"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "padded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight, half, more],
    )
    counts = count(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert (counts.macs, counts.counted_share) == (4 * 6 * 6 * 8 * 9, 1.0)
