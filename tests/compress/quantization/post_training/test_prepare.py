"""What the preparation of a file leaves on the terminal."""

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
