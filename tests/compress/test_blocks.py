"""Weights in blocks of few bits: errors within a step, GPTQ better on real inputs, codes as the runtime reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compress.quantization.blocks import round_half_quadratic, round_nearest, round_with_hessian
from compress.quantization.graph import Graph, session
from compress.quantization.nbits import finish, replace_product


def weight(outputs, inputs, seed=0):
    return np.random.default_rng(seed).standard_t(4, (outputs, inputs)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([4, 8]), st.sampled_from([16, 32]), st.booleans())
def test_no_value_is_further_than_a_step_when_rounded_to_nearest(outputs, inputs, bits, size, symmetric):
    given_weight = weight(outputs, inputs, inputs)
    found = round_nearest(given_weight, bits, size, symmetric=symmetric)
    steps = np.repeat(found.scales, size, axis=1)[:, :inputs]
    assert (np.abs(found.values - given_weight) <= steps * 1.001).all()
    assert found.codes.max() < 2**bits


def test_zero_stays_zero():
    assert (round_nearest(np.zeros((2, 20), np.float32), 4, 16, symmetric=False).values == 0).all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_half_quadratic_lowers_the_robust_error(symmetric):
    given_weight = weight(32, 128)

    def error(found):
        return float((np.abs(found.values - given_weight) ** 0.7).sum())

    plain = error(round_nearest(given_weight, 4, 32, symmetric=symmetric))
    assert error(round_half_quadratic(given_weight, 4, 32, symmetric=symmetric)) < 0.99 * plain


@pytest.mark.parametrize("inputs", [64, 50])
def test_gptq_halves_the_error_on_correlated_inputs(inputs):
    random = np.random.default_rng(2)
    rows = random.standard_normal((400, 8)) @ random.standard_normal((8, inputs))
    rows = (rows + 0.1 * random.standard_normal(rows.shape)).astype(np.float32)
    rows[:, 5] = 0  # an input that is never there
    given_weight = weight(16, inputs)
    wanted = rows @ given_weight.T
    plain = round_nearest(given_weight, 4, 16, symmetric=False)
    found = round_with_hessian(given_weight, rows.T @ rows, 4, 16, symmetric=False)
    error = np.square(rows @ found.values.T - wanted).sum()
    assert error < 0.5 * np.square(rows @ plain.values.T - wanted).sum()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("inputs", "size"), [(64, 16), (50, 16), (40, 64)])
def test_runtime_multiplies_by_the_rounded_weight(bits, inputs, size):
    given_weight = weight(6, inputs)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "product", transB=1, beta=2.0)]
    tensors = [numpy_helper.from_array(given_weight, "w"), numpy_helper.from_array(np.ones(6, np.float32), "b")]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    blocks = round_nearest(given_weight, bits, size, symmetric=False)
    looked_up = Graph(model)
    replace_product(looked_up, looked_up.nodes[0], blocks, bits, int8=False)
    finish(model)
    rows = np.random.default_rng(0).standard_normal((5, inputs)).astype(np.float32)
    found = session(model).run(None, {"x": rows})[0]
    np.testing.assert_allclose(found, rows @ blocks.values.T + 2, rtol=1e-4, atol=1e-4)
    assert "w" not in {tensor.name for tensor in model.graph.initializer}


@pytest.mark.parametrize("bits", [4, 8])
def test_largest_value_of_either_sign_is_exact_when_steps_are_symmetric(bits):
    """2^b - 1 of the codes stand evenly around the middle, (2^b - 2) / 2 steps on each side."""
    blocks = np.array([[0.3, 2.8, -1.1, 0.0], [0.3, -2.8, 1.1, 0.0]], np.float32)
    found = round_nearest(blocks, bits, 4, symmetric=True)
    side = 2 ** (bits - 1) - 1
    assert (found.zeros == side + 1).all()
    assert found.codes[:, 0, 1].tolist() == [2 * side + 1, 1]
    np.testing.assert_allclose(found.scales, 2.8 / side, rtol=1e-6)
    np.testing.assert_allclose(found.values[:, 1], [2.8, -2.8], rtol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("unit", [2.0**-8, 2.0**8])
def test_half_quadratic_gives_the_same_codes_when_weights_are_in_another_unit(unit, symmetric):
    """|W|^(p - 1) / beta, with beta in units of |W|^(p - 2), is a weight again: what may stay scales with the rest."""
    given_weight = weight(32, 128)
    plain = round_half_quadratic(given_weight, 4, 32, symmetric=symmetric)
    scaled = round_half_quadratic(given_weight * np.float32(unit), 4, 32, symmetric=symmetric)
    assert (scaled.codes == plain.codes).all()
    np.testing.assert_allclose(scaled.scales, plain.scales * unit, rtol=1e-5)
