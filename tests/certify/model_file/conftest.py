"""Small graphs, float and quantized, that the tests of certify.model_file.onnx_graph read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Build = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def build() -> Build:
    """Make a model of one input ``x`` and one output ``y`` from nodes and named arrays."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        weights: dict[str, np.ndarray],
        shape: Sequence[int | str] = ("N", 3, 8, 8),
        dtype: int = TensorProto.FLOAT,
        functions: Sequence[onnx.FunctionProto] = (),
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info("x", dtype, list(shape))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=8, functions=list(functions))

    return make


@pytest.fixture
def conv_weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 3, 3, 3)).astype(np.float32)
