"""Chains of constant factors and summands become shorter without other outputs, on values of any number of axes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from certify.model_file.onnx_graph.scaled_channels import shorten_chains

CHANNELS = 5


@pytest.mark.parametrize("behind", [(), (3,), (3, 4), (2, 3, 4)], ids=["features", "1-D", "2-D", "3-D"])
def test_outputs_stay_when_a_normalisation_of_channels_is_part_of_a_chain(behind: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"]),
        helper.make_node("Div", ["a", "spread"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "scale", "offset", "centre", "variance"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    shape = (CHANNELS, *[1] * len(behind))
    arrays = {"mean": rng.normal(size=shape), "spread": 1 + rng.random(shape), "scale": rng.normal(size=CHANNELS),
              "offset": rng.normal(size=CHANNELS), "centre": rng.normal(size=CHANNELS),
              "variance": 1 + rng.random(CHANNELS)}  # fmt: skip
    weights = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, *behind])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    x = rng.normal(size=(2, CHANNELS, *behind)).astype(np.float32)
    before = np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])
    assert shorten_chains(model, (CHANNELS, *behind)) == 1
    after = np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
