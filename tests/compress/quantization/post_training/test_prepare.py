"""What the preparation of a file leaves on the terminal, and how it infers shapes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.quantization.post_training.prepare import prepared


def test_preparation_writes_nothing_to_the_terminal_when_a_constant_is_unused(
    tmp_path, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    unused = numpy_helper.from_array(np.ones(3, np.float32), "unused")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:], [unused])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    prepared(tmp_path / "m.onnx", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_shapes_are_inferred_without_writing_the_weights_again(tmp_path, monkeypatch) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 3))]
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes_path", lambda *given: pytest.fail("a file was inferred"))
    monkeypatch.setattr(onnx, "save", lambda *given, **more: pytest.fail("the prepared model was written again"))
    values = {each.name: each for each in prepared(tmp_path / "m.onnx", tmp_path).graph.value_info}
    assert [dim.dim_value for dim in values["m"].type.tensor_type.shape.dim] == [1, 3]
