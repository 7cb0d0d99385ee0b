from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from certify.core.errors import ModelError
from compress.exchange import parity

OUTPUTS = np.array([[1.0, 0.0, -2.0], [0.0, 3.0, 1.0]], dtype=np.float32)
SAMPLES = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)


def test_agreement_is_complete_when_outputs_are_equal():
    found = parity.agreement(OUTPUTS, OUTPUTS.copy())
    assert found == parity.Parity(2, 0.0, 1.0) and found.holds


def test_agreement_measures_the_difference_against_the_largest_output():
    other = OUTPUTS.copy()
    other[0, 0] += 0.3
    found = parity.agreement(OUTPUTS, other)
    assert found.max_relative_difference == pytest.approx(0.1) and not found.holds


def test_agreement_fails_when_the_first_class_changes():
    found = parity.agreement(OUTPUTS * 1e4, np.array([[1.0, 0.0, -2.0], [4.0, 3.0, 1.0]], dtype=np.float32) * 1e4)
    assert not found.holds


def test_agreement_does_not_count_a_tie_against_the_file():
    wanted = np.array([[1.0, 1.0, 0.0]], dtype=np.float32)
    found = parity.agreement(wanted, wanted + np.array([[0, 1e-5, 0]], dtype=np.float32))
    assert found.top1_agreement == 1.0 and found.holds


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_agreement_fails_when_the_file_returns_no_numbers(bad):
    other = OUTPUTS.copy()
    other[1, 1] = bad
    assert not parity.agreement(OUTPUTS, other).holds


def test_agreement_refuses_outputs_of_another_shape():
    with pytest.raises(ModelError, match=r"\(2, 2\).*\(2, 3\)"):
        parity.agreement(OUTPUTS, OUTPUTS[:, :2])


@given(st.floats(-5e-4, 5e-4), st.integers(0, 5))
def test_agreement_holds_for_any_small_error_of_one_output(error, place):
    other = OUTPUTS.copy().reshape(-1)
    other[place] += np.float32(error * 3)
    assert parity.agreement(OUTPUTS, other.reshape(2, 3)).holds


def test_compare_holds_for_the_exported_file_and_fails_for_another_model(model, onnx_file):
    assert parity.compare(model, onnx_file, SAMPLES).holds
    with torch.no_grad():
        model.head.bias[2] += 0.5
    assert not parity.compare(model, onnx_file, SAMPLES).holds


def test_compare_refuses_a_model_that_gives_nan(model, onnx_file):
    with torch.no_grad():
        model.head.bias[2] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        parity.compare(model, onnx_file, SAMPLES)


def test_run_onnx_reports_a_damaged_file(onnx_file):
    onnx_file.write_bytes(onnx_file.read_bytes()[:300])
    with pytest.raises(ModelError, match=onnx_file.name):
        parity.run_onnx(onnx_file, SAMPLES)


def test_compare_reports_when_the_file_takes_another_shape(onnx_file):
    with pytest.raises(ModelError, match="cannot run the model"):
        parity.compare(nn.Flatten(), onnx_file, SAMPLES[:, :1])
