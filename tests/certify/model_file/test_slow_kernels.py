"""Additions that ONNX Runtime would fuse into its slow SkipLayerNormalization are written so that it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.model_file.onnx_graph.slow_kernels import MASKED, shallow_masks, sums_before_norms

WIDTH = 8
SCALE = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)


def _model(nodes: list[onnx.NodeProto], opset: int = 17, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = {"w": np.eye(WIDTH) + 0.1, "scale": SCALE, "shift": SCALE[::-1].copy()}
    tensors = [numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()]
    ports = [helper.make_tensor_value_info(name, kind, ["n", 3, WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _residual() -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "shift"], ["linear"]),
        helper.make_node("Add", ["linear", "x"], ["added"]),
    ]


def _norm() -> list[onnx.NodeProto]:
    return [helper.make_node("LayerNormalization", ["added", "scale", "shift"], ["y"], axis=-1)]


def _spelled_out() -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceMean", ["added"], ["mean"], axes=[-1]),
        helper.make_node("Sub", ["added", "mean"], ["apart"]),
        helper.make_node("Mul", ["apart", "scale"], ["y"]),
    ]


def _run(model: onnx.ModelProto, folder: Path) -> tuple[np.ndarray, set[str]]:
    """The output for fixed noise, and the types of operators that the runtime ran."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype(np.float32)
    return session.run(None, {"x": noise})[0], {node.op_type for node in onnx.load(folder / "fused.onnx").graph.node}


def test_runtime_avoids_its_fused_kernel_when_additions_are_sums(tmp_path: Path) -> None:
    model = _model(_residual() + _norm())
    wanted, before = _run(model, tmp_path)
    assert sums_before_norms(model) == 1
    found, after = _run(model, tmp_path)
    assert "SkipLayerNormalization" in before and "SkipLayerNormalization" not in after
    assert np.allclose(found, wanted, atol=1e-5)


def test_only_the_normalised_addition_is_rewritten_when_others_precede_it() -> None:
    model = _model(_residual() + _norm())
    sums_before_norms(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add", "Sum", "LayerNormalization"]
    assert sums_before_norms(model) == 0


def test_addition_is_rewritten_when_the_norm_is_spelled_out() -> None:
    assert sums_before_norms(_model(_residual() + _spelled_out())) == 1


@pytest.mark.parametrize(
    "model",
    [
        _model([*_residual(), helper.make_node("Relu", ["added"], ["y"])]),
        _model([*_residual(), *_spelled_out()[:1], helper.make_node("Relu", ["added"], ["y"])]),
        _model(_residual() + _norm(), kind=TensorProto.FLOAT16),
        _model(_residual() + _spelled_out(), opset=7),
    ],
    ids=["no norm", "a mean alone", "16 bits", "Sum without broadcasting"],
)
def test_addition_is_kept_when(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert sums_before_norms(model) == 0
    assert model.SerializeToString() == before


def _attention(kind: str) -> onnx.ModelProto:
    """Scores that a mask is added to: the last two of eight are not to be seen."""
    hidden, given = np.arange(WIDTH) >= WIDTH - 2, np.arange(WIDTH) < WIDTH - 2
    low = np.float32(np.finfo(np.float32).min)
    makers = {
        "where": [helper.make_node("Where", ["given", "none", "low"], ["mask"])],
        "product": [helper.make_node("Mul", ["hidden", "low"], ["mask"])],
        "moved": [
            helper.make_node("Where", ["given", "none", "low"], ["row"]),
            helper.make_node("Unsqueeze", ["row", "axes"], ["column"]),
            helper.make_node("Identity", ["column"], ["mask"]),
        ],
        "constant": [],
    }
    arrays = {
        "given": given, "hidden": hidden.astype(np.float32), "none": np.float32(0), "low": low, "axes": np.array([0]),
    }  # fmt: skip
    if kind == "constant":
        arrays["mask"] = np.where(given, np.float32(0), np.float32(-100))
    nodes = [
        *makers[kind],
        helper.make_node("Add", ["x", "mask"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, WIDTH]) for name in ("x", "y")]
    read = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items() if name in read]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["where", "product", "moved", "constant"])
def test_softmax_gives_no_denormals_when_its_mask_is_shallow(kind: str, tmp_path: Path) -> None:
    model = _attention(kind)
    wanted, _ = _run(model, tmp_path)
    assert shallow_masks(model) == 1
    found, _ = _run(model, tmp_path)
    smallest = np.finfo(np.float32).smallest_normal
    assert (wanted < smallest).any() and (found >= smallest).all()
    assert np.abs(found - wanted).max() < 1e-7
    onnx.checker.check_model(model, full_check=True)
    assert len(model.graph.initializer) == len(_attention(kind).graph.initializer)  # the low constant is gone
    assert shallow_masks(model) == 0


def test_low_constant_is_kept_when_no_softmax_reads_it() -> None:
    model = _attention("where")
    model.graph.node[-1].op_type = "LogSoftmax"
    assert shallow_masks(model) == 0


def test_low_constant_is_kept_for_other_readers() -> None:
    model = _attention("product")
    model.graph.node.append(helper.make_node("Add", ["low", "low"], ["lower"]))
    assert shallow_masks(model) == 1
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert arrays["low"] < -1e38 and arrays["low.shallow"] == MASKED
