"""Weights of published networks are known again in another file, however an exporter wrote them, and others are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.model_file.onnx_graph import published_weights
from certify.model_file.onnx_graph.published_weights import print_of, published, published_name

Arrays = dict[str, np.ndarray]


def arrays() -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {"w1": (48, 3, 5, 5), "w2": (64, 48, 3, 3), "w3": (10, 64)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def net(weights: Arrays, matmul: bool = False, constants: bool = False) -> onnx.ModelProto:
    """Two convolutions and a layer; its weight may be written the other way round, and all as Constant nodes."""
    last = helper.make_node("Gemm", ["f", "w3"], ["y"], transB=1)
    if matmul:
        weights = {**weights, "w3": np.ascontiguousarray(weights["w3"].T)}
        last = helper.make_node("MatMul", ["f", "w3"], ["y"])
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"]), helper.make_node("Conv", ["c1", "w2"], ["c2"]),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]), last,
    ]  # fmt: skip
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    held = [helper.make_node("Constant", [], [one.name], value=one) for one in tensors] if constants else []
    graph = helper.make_graph(
        [*held, *nodes], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])], [] if constants else tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = tuple(print_of(array.reshape(len(array), -1)) for array in arrays().values())
    monkeypatch.setattr(published_weights, "published", lambda: {"other": prints[:0] + prints[2:], "net": prints})


def folded(weights: Arrays) -> Arrays:
    """Each output channel times a number of its own, some of them negative."""
    rng = np.random.default_rng(1)
    factors = {name: rng.normal(0, 2, (len(one), *[1] * (one.ndim - 1))) for name, one in weights.items()}
    return {name: (one * factors[name].astype(np.float32)).astype(np.float32) for name, one in weights.items()}


def noisy(weights: Arrays) -> Arrays:
    rng = np.random.default_rng(2)
    return {name: (one + 0.01 * rng.standard_normal(one.shape)).astype(np.float32) for name, one in weights.items()}


def one_replaced(weights: Arrays) -> Arrays:
    return {**weights, "w2": np.random.default_rng(3).standard_normal(weights["w2"].shape).astype(np.float32)}


def shuffled(weights: Arrays) -> Arrays:
    return {**weights, "w2": np.random.default_rng(4).permutation(weights["w2"])}


@pytest.mark.parametrize("written", [{}, {"matmul": True}, {"constants": True}])
@pytest.mark.parametrize("change", [dict, folded])
def test_published_name_is_found_when_weights_are_stored_differently(
    change: Callable[[Arrays], Arrays], written: dict[str, bool]
) -> None:
    assert published_name(net(change(arrays()), **written)) == "net"


@pytest.mark.parametrize("change", [noisy, one_replaced, shuffled])
def test_published_name_is_none_when_weights_differ(change: Callable[[Arrays], Arrays]) -> None:
    assert published_name(net(change(arrays()))) is None


def test_published_name_is_none_when_the_file_contains_more() -> None:
    model = net(arrays())
    more = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(more, "w4"))
    model.graph.node.insert(4, helper.make_node("MatMul", ["f", "w4"], ["f2"]))
    model.graph.node[-1].input[0] = "f2"
    assert published_name(model) is None


def test_known_limit_published_name_is_found_when_biases_and_operators_between_differ(
    stated: Callable[[str], None],
) -> None:
    stated("Biases, and what the operators between the weights do, are not checked.")
    model = net(arrays())
    model.graph.initializer.append(numpy_helper.from_array(np.full(48, 9, np.float32), "bias"))
    model.graph.node[0].input.append("bias")
    model.graph.node.insert(1, helper.make_node("Sin", ["c1"], ["sine"]))
    model.graph.node[2].input[0] = "sine"
    assert published_name(model) == "net"


def test_table_lists_networks_with_complete_fingerprints() -> None:
    names = published()
    assert {name.partition(" (")[0] for name in names} == {"EfficientNet-Lite0", "all-MiniLM-L6-v2"}
    for prints in names.values():
        assert all(len(pieces) == 2 * -(-rows * columns // 1024) for (rows, columns), pieces in prints)
        assert len(set(prints)) == len(prints) > 30
