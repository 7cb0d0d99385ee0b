"""What is cut off never met a value: the outputs stay, the weights go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from compress.exchange.onnx_export import export
from compress.exchange.parity import run_onnx
from compress.onnx_graph.kernel_crop import live_taps
from compress.passes.trim_kernels import TrimKernels


@settings(deadline=None, max_examples=150)
@given(
    size=st.integers(1, 7), taken=st.integers(1, 9), stride=st.integers(1, 4), begin=st.integers(0, 6),
    end=st.integers(0, 6), seed=st.integers(0, 3),
)  # fmt: skip
def test_outputs_stay_the_same_for_any_kernel(size, taken, stride, begin, end, seed):
    if taken + begin + end < size:
        return
    random = np.random.default_rng(seed)
    values, kernel = (torch.from_numpy(random.normal(size=(1, 1, n))) for n in (taken, size))
    wanted = functional.conv1d(functional.pad(values, (begin, end)), kernel, stride=stride)
    axis = live_taps(size, taken, wanted.shape[-1], stride, begin, end)
    assert min(axis.pads) >= 0
    cut = kernel[:, :, axis.first : axis.last + 1]
    found = functional.conv1d(functional.pad(values, axis.pads), cut, stride=stride)
    assert torch.allclose(found, wanted)


def _file(path, size, kernel, stride=1, pad=0):
    """One convolution, its weight shared with a second one of the same shape."""
    random = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(random.normal(size=(4, 4, kernel, kernel)).astype(np.float32), "w")
    conv = {"strides": [stride] * 2, "pads": [pad] * 4, "kernel_shape": [kernel] * 2}
    nodes = [
        onnx.helper.make_node("Conv", ["input", "w"], ["a"], "first", **conv),
        onnx.helper.make_node("Conv", ["input", "w"], ["b"], "second", **conv),
        onnx.helper.make_node("Add", ["a", "b"], ["output"], "add"),
    ]
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4, *side])
        for name, side in (("input", [size, size]), ("output", [None, None]))
    ]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "left"), [(1, 3, 1, 1, 1), (2, 3, 2, 1, 2), (2, 5, 1, 2, 3), (1, 7, 2, 3, 1)]
)
def test_kernel_shrinks_to_the_taps_that_meet_values(tmp_path, context, size, kernel, stride, pad, left):
    path = _file(tmp_path / "in.onnx", size, kernel, stride, pad)
    trimmed, record = TrimKernels().apply(path, context)
    samples = np.random.default_rng(1).normal(size=(3, 4, size, size)).astype(np.float32)
    assert np.allclose(run_onnx(trimmed, samples), run_onnx(path, samples), atol=1e-5)
    weights = onnx.load(trimmed).graph.initializer
    assert [list(w.dims) for w in weights] == [[4, 4, left, left]] * 2
    assert record.done["kernels"]["first"] == [f"{kernel}x{kernel}", f"{left}x{left}"]
    assert record.done["weights_removed"] == 2 * 16 * (kernel**2 - left**2)


def test_file_is_declined_when_every_tap_meets_values(tmp_path, context):
    path = _file(tmp_path / "in.onnx", 4, 3, 1, 1)
    trimmed, record = TrimKernels().apply(path, context)
    assert trimmed == path
    assert not record.changed
    assert [p.name for p in tmp_path.iterdir()] == ["in.onnx"]


@pytest.mark.parametrize(("size", "kinds"), [(8, ["Conv", "Flatten", "Gemm"]), (16, ["Conv", "ReduceMean", "Gemm"])])
@pytest.mark.parametrize("keepdims", [False, True])
def test_mean_is_removed_when_it_has_one_value(tmp_path, context, size, kinds, keepdims):
    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.head(self.first(x).mean((2, 3), keepdim=keepdims).flatten(1))

    torch.manual_seed(0)
    preprocess = replace(context.preprocess, height=size, width=size)
    path = tmp_path / "in.onnx"
    export(Pooled().eval(), preprocess, path, classes=4)
    trimmed, record = TrimKernels().apply(path, context)
    samples = np.random.default_rng(1).normal(size=(3, 3, size, size)).astype(np.float32)
    assert np.allclose(run_onnx(trimmed, samples), run_onnx(path, samples), atol=1e-6)
    left = [node.op_type for node in onnx.load(trimmed).graph.node]
    assert [kind for kind in left if kind not in ("Flatten", "Reshape")] == [k for k in kinds if k != "Flatten"]
    assert record.changed == (size == 8)
