"""Layers in a row are compared with their one product."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from certify.model_file.onnx_graph.linear_products import linear_products


def test_savings_add_up_to_the_single_product_when_three_layers_are_in_a_row() -> None:
    rng, widths = np.random.default_rng(0), [16, 64, 16, 4]
    sizes = list(zip(widths, widths[1:], strict=False))
    nodes = [helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"]) for i in range(len(sizes))]
    weights = [numpy_helper.from_array(rng.normal(size=size).astype(np.float32), f"w{i}")
               for i, size in enumerate(sizes)]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["n", widths[0]])],
        [helper.make_tensor_value_info("v3", TensorProto.FLOAT, ["n", widths[-1]])], weights,
    )  # fmt: skip
    found = linear_products(helper.make_model(graph), (widths[0],))
    assert sum(found.values()) == sum(a * b for a, b in sizes) - widths[0] * widths[-1]
