"""Rounding with learnt steps: the values of ONNX's operators, and LSQ's gradients."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from compress.quantization.aware_training.fake_quantize import FakeQuantize, LearnedRounding, bias_codes, round_bias


def _onnx_round(values: np.ndarray, step: float, zero: int, kind: type) -> np.ndarray:
    """What QuantizeLinear and DequantizeLinear make of values."""
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["codes"]),
        onnx.helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "qdq",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array(step, np.float32), "step"),
            onnx.numpy_helper.from_array(np.array(zero, kind), "zero"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, {"x": values})[0]


@pytest.mark.parametrize(("kind", "low", "high"), [(np.uint8, 0, 255), (np.int8, -128, 127)])
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=20),
    step=st.floats(2**-10, 2.0, width=32),
    share=st.floats(0, 1),
)
def test_rounding_equals_onnx_for_any_values(kind, low, high, values, step, share):
    zero = low + round(share * (high - low))
    quantizer = FakeQuantize(low, high, torch.tensor(step), zero)
    x = np.array(values, np.float32)
    wanted = _onnx_round(x, float(quantizer.step.detach()), zero, kind)
    np.testing.assert_array_equal(quantizer(torch.from_numpy(x)).detach().numpy(), wanted)


def test_halves_round_to_even():
    quantizer = FakeQuantize(-127, 127, torch.tensor(1.0))
    assert quantizer(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0.0, 2.0, 2.0, 0.0, -2.0]


def test_gradients_are_those_of_lsq():
    x = torch.tensor([-9.0, -0.3, 0.4, 1.7, 90.0], requires_grad=True)
    step, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    rounded = LearnedRounding.apply(x, step, zero, 0, 15, torch.tensor(0.1))
    (rounded * weights).sum().backward()
    # v = x / s is -18, -0.6, 0.8, 3.4, 180; what is inside lies from 0 - 3 to 15 - 3
    by_step = [0 - 3, -1 + 0.6, 1 - 0.8, 3 - 3.4, 15 - 3]
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]
    assert float(step.grad) == pytest.approx(0.1 * sum(w * d for w, d in zip(weights.tolist(), by_step, strict=True)))
    assert float(zero.grad) == pytest.approx(-0.5 * (1.0 + 5.0))


def test_gradient_of_each_channel_is_its_own():
    weight = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    together = FakeQuantize(-127, 127, torch.tensor([0.01, 0.02, 0.03]))
    together(weight).square().sum().backward()
    for channel, step in enumerate((0.01, 0.02, 0.03)):
        alone = FakeQuantize(-127, 127, torch.tensor([step]))
        alone(weight[channel : channel + 1]).square().sum().backward()
        assert float(together.log_step.grad[channel]) == pytest.approx(float(alone.log_step.grad[0]), rel=1e-5)


def test_step_changes_under_gradient_descent_as_in_lsq():
    x, step, rate = torch.tensor([[0.1, 0.26, 5.0]]), 0.1, 0.05
    quantizer = FakeQuantize(0, 15, torch.tensor(step))
    quantizer(x).sum().backward()
    by_step = (1 - 1.0) + (3 - 2.6) + 15
    lsq = rate * by_step / math.sqrt(3 * 15)  # of the step; here of its logarithm, so as a share of the step
    moved = rate * float(quantizer.log_step.grad)
    assert moved * step == pytest.approx(lsq, rel=1e-4)


def test_zero_point_stays_an_integer_code_when_learnt():
    quantizer = FakeQuantize(0, 255, torch.tensor(0.1), 100, learn_zero=True)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1e-3)
    quantizer(torch.tensor([[-50.0, 1.0]])).sum().backward()
    optimizer.step()
    zero = quantizer.zero.item()
    assert zero != 100
    assert zero == round(zero)


@pytest.mark.parametrize("zero", [0, 255])
def test_zero_point_is_not_learnt_when_it_is_an_end_of_the_range(zero):
    assert not FakeQuantize(0, 255, torch.tensor(0.1), zero, learn_zero=True).offset.requires_grad


def test_bias_has_the_step_of_the_products():
    taken, weight = FakeQuantize(0, 255, torch.tensor(0.5)), FakeQuantize(-127, 127, torch.tensor([0.25, 0.5]))
    bias = torch.tensor([0.3, 1e12], requires_grad=True)
    rounded = round_bias(bias, taken, weight)
    assert rounded[0].item() == pytest.approx(0.25)
    assert bias_codes(bias, torch.tensor(0.25)).to(torch.int64).tolist() == [1, 2**31 - 128]
    rounded.sum().backward()
    assert bias.grad.tolist() == [1.0, 1.0]
