"""Channels of zeros beside depthwise convolutions: the outputs stay, and what can't be given more is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.core.targets import TARGETS
from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.onnx_graph import pad_depthwise
from compress.passes.pad_channels import PadChannels
from compress.testing.networks import CLASSES, Depthwise, network


@pytest.fixture
def depthwise_file(context, tmp_path):
    path = tmp_path / "depthwise.onnx"
    export(network("depthwise"), context.preprocess, path, classes=CLASSES)
    return path


def groups(path) -> list[int]:
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    found = [next((a.i for a in node.attribute if a.name == "group"), 1) for node in nodes]
    return [each for each in found if each > 1]


def test_channels_are_padded_and_outputs_stay_when_they_are_not_a_multiple(depthwise_file, context):
    padded, record = PadChannels().apply(depthwise_file, context)
    assert groups(padded) == [64, 64]
    assert set(map(tuple, record.done["channels"].values())) == {(60, 64)}
    samples = context.samples(16)
    np.testing.assert_allclose(run_onnx(padded, samples), run_onnx(depthwise_file, samples), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["cpu-arm", "openvino", "openvino-avx2"])
def test_file_is_unchanged_when_the_target_has_no_step(depthwise_file, context, target):
    padded, record = PadChannels().apply(depthwise_file, replace(context, target=TARGETS[target]))
    assert padded == depthwise_file
    assert "any number" in record.declined[0].why


def test_file_is_unchanged_when_all_channels_are_multiples(depthwise_file, tmp_path):
    made, record = pad_depthwise(depthwise_file, tmp_path, 12)
    assert made == depthwise_file
    assert not record.changed


def test_channels_are_unchanged_when_they_would_grow_by_more_than_a_quarter(depthwise_file, tmp_path):
    made, record = pad_depthwise(depthwise_file, tmp_path, 100)
    assert made == depthwise_file
    assert "quarter" in record.declined[0].why


class Shuffled(nn.Module):
    """Channels are read by an operator that mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 60, 3, 4, 1)
        self.deep = nn.Conv2d(60, 60, 3, 1, 1, groups=60)
        self.head = nn.Linear(60, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.deep(self.stem(x))
        n, c, h, w = made.shape
        return self.head(made.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w).mean((2, 3)))


def test_channels_are_unchanged_when_an_operator_mixes_them(context, tmp_path):
    path = tmp_path / "shuffled.onnx"
    export(Shuffled().eval(), context.preprocess, path, classes=CLASSES)
    made, record = pad_depthwise(path, tmp_path, 16)
    assert made == path
    assert "cannot take more" in record.declined[0].why


def test_network_of_tests_is_padded_to_the_step_of_this_target():
    assert 1 < 64 / Depthwise().deep[0].in_channels < 1.25
