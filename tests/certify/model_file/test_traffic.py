from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from certify.measure.yardstick import build as build_yardstick
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.traffic import element_bits

INPUT, OUTPUT, WEIGHT = 3 * 8 * 8, 6 * 6 * 6, 6 * 3 * 3 * 3


def quantized(weight: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "w_q": np.clip(weight * 50, -127, 127).astype(np.int8),
        "w_s": np.full(6, 0.02, dtype=np.float32),
        "w_z": np.zeros(6, dtype=np.int8),
        "s": np.array(0.05, dtype=np.float32),
        "z": np.array(128, dtype=np.uint8),
        "b_q": np.zeros(6, dtype=np.int32),
        "b_s": np.full(6, 0.001, dtype=np.float32),
    }


def pairs(relu: bool) -> list[onnx.NodeProto]:
    """A convolution between pairs of QuantizeLinear and DequantizeLinear, with or without an activation."""
    return [
        make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        make_node("DequantizeLinear", ["x_q", "s", "z"], ["x_d"]),
        make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w_d"], axis=0),
        make_node("DequantizeLinear", ["b_q", "b_s"], ["b_d"], axis=0),
        make_node("Conv", ["x_d", "w_d", "b_d"], ["c"]),
        *([make_node("Relu", ["c"], ["r"])] if relu else []),
        make_node("QuantizeLinear", ["r" if relu else "c", "s", "z"], ["c_q"]),
        make_node("DequantizeLinear", ["c_q", "s", "z"], ["y"]),
    ]


def test_bytes_are_operands_times_their_size_when_a_convolution_is_float(build, conv_weight) -> None:
    bias = np.zeros(6, dtype=np.float32)
    nodes = [make_node("Conv", ["x", "w", "b"], ["c"]), make_node("Relu", ["c"], ["y"])]
    model = build(nodes, {"w": conv_weight, "b": bias})
    assert count(model).bytes_moved == 4 * (INPUT + WEIGHT + 6 + OUTPUT)


def test_bytes_are_halved_when_a_convolution_is_float16(build, conv_weight) -> None:
    model = build(
        [make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight.astype(np.float16)}, dtype=TensorProto.FLOAT16
    )
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    assert count(model).bytes_moved == 2 * (INPUT + WEIGHT + OUTPUT)


@pytest.mark.parametrize("relu", [False, True])
def test_bytes_are_those_of_the_integers_when_surrounded_by_pairs(build, conv_weight, relu: bool) -> None:
    model = build(pairs(relu), quantized(conv_weight))
    assert count(model).bytes_moved == INPUT + WEIGHT + 4 * 6 + OUTPUT


def test_bytes_are_those_of_the_integers_when_operators_are_quantized(build, conv_weight) -> None:
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        make_node("QLinearConv", ["x_q", "s", "z", "w_q", "w_s", "w_z", "s", "z"], ["c"]),
        make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    assert count(build(nodes, quantized(conv_weight))).bytes_moved == INPUT + WEIGHT + OUTPUT


def test_bytes_of_sums_are_four_each_when_an_operator_gives_int32(build, conv_weight) -> None:
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        make_node("ConvInteger", ["x_q", "w_q", "z"], ["c"]),
        make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    assert count(build(nodes, quantized(conv_weight))).bytes_moved == INPUT + WEIGHT + 4 * OUTPUT


def test_weights_are_counted_once_when_the_batch_is_fixed_to_four(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}, shape=(4, 3, 8, 8))
    assert count(model).bytes_moved == 4 * (INPUT + WEIGHT + OUTPUT)


def test_bytes_are_unknown_when_a_shape_is_unknown(build, conv_weight) -> None:
    model = build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}, shape=("N", 3, "H", "W"))
    assert count(model).bytes_moved is None
    assert count(model, sample=(3, 8, 8)).bytes_moved == 4 * (INPUT + WEIGHT + OUTPUT)


def test_bytes_match_weights_and_activations_when_resnet50() -> None:
    """Weights once, and about eleven million activations read and written (arXiv 1512.03385, table 1)."""
    counts = count(onnx.load_from_string(build_yardstick()))
    assert counts.bytes_moved is not None
    activations = counts.bytes_moved / 4 - counts.parameters
    assert 19e6 < activations < 25e6


@pytest.mark.parametrize(
    ("kind", "bits"),
    [(TensorProto.FLOAT, 32), (TensorProto.INT8, 8), (TensorProto.INT4, 4), (TensorProto.BFLOAT16, 16),
     (TensorProto.STRING, None), (TensorProto.UNDEFINED, None)],
)  # fmt: skip
def test_element_bits_are_those_of_the_type(kind: int, bits: int | None) -> None:
    assert element_bits(kind) == bits
