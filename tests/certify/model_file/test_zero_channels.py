from __future__ import annotations

import numpy as np
import pytest
from onnx.helper import make_node

from certify.model_file.onnx_graph.zero_channels import zero_channels


@pytest.fixture
def masked(conv_weight: np.ndarray) -> np.ndarray:
    """A weight of six output channels, of which two are zero."""
    weight = conv_weight.copy()
    weight[[1, 4]] = 0
    return weight


def test_zero_channels_are_none_when_weights_are_dense(build, conv_weight) -> None:
    found = zero_channels(build([make_node("Conv", ["x", "w"], ["y"])], {"w": conv_weight}))
    assert (found.channels, found.zero, found.share) == (6, 0, 0.0)


def test_zero_channels_are_found_when_weights_are_zero(build, masked) -> None:
    found = zero_channels(build([make_node("Conv", ["x", "w"], ["y"])], {"w": masked}))
    assert (found.channels, found.zero) == (6, 2)
    assert found.share == pytest.approx(1 / 3)


def test_zero_channels_are_found_when_a_mask_is_multiplied_onto_the_weight(build, conv_weight) -> None:
    mask = np.ones((6, 1, 1, 1), dtype=np.float32)
    mask[2] = 0
    nodes = [make_node("Mul", ["w", "mask"], ["m"]), make_node("Conv", ["x", "m"], ["y"])]
    assert zero_channels(build(nodes, {"w": conv_weight, "mask": mask})).zero == 1


def test_zero_channels_are_found_when_a_mask_is_multiplied_onto_the_output(build, conv_weight) -> None:
    mask = np.ones((1, 6, 1, 1), dtype=np.float32)
    mask[0, :3] = 0
    nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Mul", ["c", "mask"], ["y"])]
    assert zero_channels(build(nodes, {"w": conv_weight, "mask": mask})).zero == 3


def test_zero_channels_are_found_when_batchnorm_scales_them_away(build, conv_weight) -> None:
    ones = np.ones(6, dtype=np.float32)
    scale = ones.copy()
    scale[5] = 0
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("BatchNormalization", ["c", "scale", "ones", "ones", "ones"], ["y"]),
    ]
    assert zero_channels(build(nodes, {"w": conv_weight, "scale": scale, "ones": ones})).zero == 1


def test_zero_channels_are_those_at_the_zero_point_when_quantized(build) -> None:
    weight = np.full((6, 3, 3, 3), 7, dtype=np.uint8)
    zero_point = np.array([7, 0, 0, 7, 0, 0], dtype=np.uint8)
    weights = {"w": weight, "scale": np.ones(6, dtype=np.float32), "zero": zero_point}
    nodes = [
        make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=0),
        make_node("Conv", ["x", "d"], ["y"]),
    ]
    assert zero_channels(build(nodes, weights)).zero == 2


def test_zero_channels_are_found_when_weights_are_too_small_to_matter(build, conv_weight) -> None:
    weight = conv_weight * np.array([1, 1e-9, 1, 1e-3, 1, 1e-30], dtype=np.float32).reshape(6, 1, 1, 1)
    assert zero_channels(build([make_node("Conv", ["x", "w"], ["y"])], {"w": weight.astype(np.float32)})).zero == 2


@pytest.mark.parametrize("swapped", [False, True])
def test_zero_channels_are_found_when_a_condition_deselects_them(build, conv_weight, swapped: bool) -> None:
    keep = np.array([1, 0, 1, 1, 0, 1], dtype=bool).reshape(1, 6, 1, 1)
    branches = ["nothing", "r"] if swapped else ["r", "nothing"]
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("Relu", ["c"], ["r"]),
        make_node("Where", ["keep", *branches], ["y"]),
    ]
    weights = {"w": conv_weight, "keep": ~keep if swapped else keep, "nothing": np.zeros(1, dtype=np.float32)}
    assert zero_channels(build(nodes, weights)).zero == 2


@pytest.mark.parametrize(("factor", "zero"), [(0.0, 6), (1e-12, 6), (0.5, 0)])
def test_zero_channels_are_all_when_an_output_is_multiplied_by_zero(build, conv_weight, factor, zero) -> None:
    nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Mul", ["f", "c"], ["y"])]
    assert zero_channels(build(nodes, {"w": conv_weight, "f": np.float32(factor)})).zero == zero


def test_zero_channels_are_none_when_a_gate_depends_on_the_input(build, conv_weight) -> None:
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("GlobalAveragePool", ["c"], ["p"]),
        make_node("Sigmoid", ["p"], ["s"]),
        make_node("Mul", ["c", "s"], ["y"]),
    ]
    assert zero_channels(build(nodes, {"w": conv_weight})).zero == 0


def test_zero_channels_are_none_when_another_reader_takes_the_output_unmasked(build, conv_weight) -> None:
    mask = np.zeros((1, 6, 1, 1), dtype=np.float32)
    nodes = [
        make_node("Conv", ["x", "w"], ["c"]),
        make_node("Mul", ["c", "mask"], ["m"]),
        make_node("Add", ["c", "m"], ["y"]),
    ]
    assert zero_channels(build(nodes, {"w": conv_weight, "mask": mask})).zero == 0


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([make_node("ConstantOfShape", ["n"], ["m"])], {"n": np.array([10**6, 10**6])}),
        ([make_node("Expand", ["one", "n"], ["m"])], {"one": np.float32([1]), "n": np.array([10**6, 10**6])}),
        ([make_node("Mul", ["a", "b"], ["m"])], {"a": np.ones((10**5, 1), "f"), "b": np.ones((1, 10**5), "f")}),
        ([make_node("Add", ["a", "b"], ["m"])], {"a": np.ones(3, "f"), "b": np.ones(4, "f")}),
    ],
    ids=["a huge constant", "a huge expansion", "a huge product", "shapes that do not fit"],
)
def test_zero_channels_ignore_constants_that_cannot_be_computed(build, conv_weight, nodes, constants) -> None:
    """A small file asks for terabytes, or for nothing that runs."""
    mul = [make_node("Conv", ["x", "w"], ["c"]), make_node("Mul", ["c", "m"], ["y"])]
    found = zero_channels(build([*nodes, *mul], {"w": conv_weight, **constants}))
    assert (found.channels, found.zero) == (6, 0)


def test_zero_channels_are_found_when_scales_are_zero(build) -> None:
    scale = np.array([0.1, 0, 0.1, 1e-30, 0.1, 0.1], dtype=np.float32)
    weights = {"w": np.full((6, 3, 3, 3), 7, dtype=np.int8), "scale": scale, "zero": np.zeros(6, dtype=np.int8)}
    nodes = [make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=0), make_node("Conv", ["x", "d"], ["y"])]
    assert zero_channels(build(nodes, weights)).zero == 2


def test_zero_channels_read_the_weights_own_scale_when_an_operator_is_quantized(build) -> None:
    weights = {
        "w": np.full((6, 3, 3, 3), 9, dtype=np.int8), "w_s": np.array([1, 1, 0, 1, 1, 1], dtype=np.float32),
        "w_z": np.array([0, 9, 0, 0, 0, 0], dtype=np.int8), "s": np.float32(0.1), "z": np.uint8(0),
    }  # fmt: skip
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make_node("QLinearConv", ["q", "s", "z", "w", "w_s", "w_z", "s", "z"], ["c"]),
        make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    assert zero_channels(build(nodes, weights)).zero == 2


@pytest.mark.parametrize("transposed", [0, 1])
def test_zero_channels_follow_the_layout_when_a_layer_is_dense(build, transposed: int) -> None:
    weight = np.ones((192, 5), dtype=np.float32)
    weight[:, 3] = 0
    nodes = [make_node("Flatten", ["x"], ["f"]), make_node("Gemm", ["f", "w"], ["y"], transB=transposed)]
    found = zero_channels(build(nodes, {"w": weight.T.copy() if transposed else weight}))
    assert (found.channels, found.zero) == (5, 1)


def test_zero_channels_ignore_products_of_activations(build) -> None:
    nodes = [make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]), make_node("MatMul", ["x", "t"], ["y"])]
    assert zero_channels(build(nodes, {})).channels == 0
