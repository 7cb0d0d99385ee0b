"""Weights in blocks of few bits: errors within a step, GPTQ better on real inputs, codes as the runtime reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compress.core.onnx_session import session
from compress.onnx_graph.graph import Graph
from compress.quantization.post_training.blockwise import (
    round_half_quadratic,
    round_nearest,
    round_with_hessian,
    shrink,
)
from compress.quantization.post_training.matmul_nbits import finish, replace_product


def weight(outputs, inputs, seed=0):
    return np.random.default_rng(seed).standard_t(4, (outputs, inputs)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([4, 8]), st.sampled_from([16, 32]), st.booleans())
def test_error_is_at_most_a_step_when_rounded_to_nearest(outputs, inputs, bits, size, symmetric):
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
def test_codes_are_exact_when_a_symmetric_block_has_every_step(bits):
    """The scale reaches the largest value with 2^(bits - 1) - 1 steps, as many below 0 as above."""
    most = 2 ** (bits - 1) - 1
    steps = np.linspace(-most, most, 2 * most + 1, dtype=np.float32)[None]
    found = round_nearest(steps, bits, 256, symmetric=True)
    assert found.scales.tolist() == [[1.0]]
    assert (found.values == steps).all()


def test_large_errors_are_shrunk_least_when_the_norm_is_below_one():
    """|e| - |e|^(p - 1) / beta: what is taken off falls with the error, and small errors go to 0."""
    errors = np.array([0.01, 0.5, 1.0, 2.0, -4.0], dtype=np.float32)
    kept = shrink(errors, np.float32(5.0))
    taken = np.abs(errors) - np.abs(kept)
    assert kept[0] == 0 and (np.sign(kept[1:]) == np.sign(errors[1:])).all()
    assert (np.diff(taken[1:]) < 0).all()
    assert taken[2] == pytest.approx(0.2)
