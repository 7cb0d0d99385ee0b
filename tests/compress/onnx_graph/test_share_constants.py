"""Equal constants are stored once, unless somebody else may replace one of them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.graph import share_constants


def graph_of(constants, inputs=("x",)):
    """A sum of x and all constants."""
    node = helper.make_node("Sum", ["x", *constants], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in (*inputs, "y")]
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    return helper.make_graph([node], "sum", values[:-1], values[-1:], tensors)


def test_equal_constants_are_stored_once_when_type_and_shape_agree():
    one = np.ones(2, np.float32)
    graph = graph_of({"a": one, "b": one, "c": one.astype(np.int32), "d": one[:, None], "e": 2 * one, "f": one})
    share_constants(graph)
    assert list(graph.node[0].input) == ["x", "a", "a", "c", "d", "e", "a"]
    assert [tensor.name for tensor in graph.initializer] == ["a", "c", "d", "e"]


def test_constant_stays_its_own_when_an_input_may_replace_it():
    one = np.ones(2, np.float32)
    graph = graph_of({"a": one, "b": one}, inputs=("x", "a"))
    share_constants(graph)
    assert list(graph.node[0].input) == ["x", "a", "b"]
    assert len(graph.initializer) == 2
