"""A spatial mean becomes a pool that computes the same; other means stay what they are."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.onnx_graph.spatial_means import means_as_pools


def mean_over(axes, keepdims, shape=("n", 3, 5, 7)):
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean", keepdims=keepdims)
    rank = len(shape) if keepdims else len(shape) - len(axes)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7), dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_mean_becomes_a_pool_with_the_same_outputs_when_it_is_spatial(axes, keepdims):
    model = mean_over(axes, keepdims)
    before = run(model)
    assert means_as_pools(model) == 1
    assert [node.op_type for node in model.graph.node] == ["GlobalAveragePool", "Flatten"][: 2 - keepdims]
    after = run(model)
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("axes", "shape"), [([1, 2], ("n", 3, 5, 7)), ([3], ("n", 3, 5, 7)), ([2, 3], None)])
def test_mean_is_unchanged_when_it_is_not_spatial_or_its_rank_is_unknown(axes, shape):
    model = mean_over(axes, 1)
    if shape is None:
        model.graph.input[0].type.tensor_type.ClearField("shape")
    assert means_as_pools(model) == 0
    assert model.graph.node[0].op_type == "ReduceMean"
