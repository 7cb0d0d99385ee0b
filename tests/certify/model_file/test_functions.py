"""Functions are put in place of their calls, unless they stand for more than can be looked at."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.functions import MAX_DEPTH, inlined
from certify.model_file.onnx_graph.shapes import infer, output_shapes
from certify.model_file.onnx_graph.zero_channels import zero_channels

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def model(calls: dict[str, list[str]]) -> onnx.ModelProto:
    """A model that calls the first function; each function calls those that are named, one after the other."""
    functions = []
    for name, called in calls.items():
        names = ["a", *(f"m{place}" for place in range(len(called) - 1)), "b"]
        nodes = [
            helper.make_node(op, [names[place]], [names[place + 1]], domain="own" if op in calls else "")
            for place, op in enumerate(called)
        ]
        functions.append(helper.make_function("own", name, ["a"], ["b"], nodes, OPSETS))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    first = helper.make_node(next(iter(calls), "Relu"), ["x"], ["y"], domain="own" if calls else "")
    graph = helper.make_graph([first], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=OPSETS, functions=functions, ir_version=9)


def doubling(steps: int) -> dict[str, list[str]]:
    """A few lines that stand for two to the power of ``steps`` nodes."""
    return {f"f{step}": [f"f{step + 1}"] * 2 for step in range(steps)} | {f"f{steps}": ["Relu"]}


def test_model_is_returned_unchanged_when_it_has_no_functions() -> None:
    plain = model({})
    assert inlined(plain) is plain


def test_calls_are_replaced_when_functions_call_functions() -> None:
    flat = inlined(model(doubling(4)))
    assert [node.op_type for node in flat.graph.node] == ["Relu"] * 16
    assert not flat.functions


@pytest.mark.parametrize("look", [inlined, count, zero_channels])
def test_model_is_refused_when_functions_expand_to_too_many_nodes(look: object) -> None:
    with pytest.raises(ModelError, match="nodes, the limit"):
        look(model(doubling(40)))  # type: ignore[operator]


def test_model_is_refused_when_a_function_calls_itself() -> None:
    with pytest.raises(ModelError, match="'f' calls itself"):
        inlined(model({"f": ["g"], "g": ["f"]}))


def test_model_is_refused_when_calls_are_nested_too_deeply() -> None:
    chain = {f"f{step}": [f"f{step + 1}"] for step in range(MAX_DEPTH + 1)} | {f"f{MAX_DEPTH + 1}": ["Relu"]}
    with pytest.raises(ModelError, match="deep"):
        inlined(model(chain))


def test_shapes_are_unknown_when_functions_expand_to_too_many_nodes() -> None:
    """onnx's own inference expands them and never returns."""
    assert output_shapes(model(doubling(40))) == {}


def test_shapes_are_unknown_when_a_function_calls_itself() -> None:
    call = helper.make_node("f", ["x"], ["y"], domain="own")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([call], "g", ports[:1], ports[1:])
    function = helper.make_function("own", "f", ["x"], ["y"], [call], opsets)
    recursive = helper.make_model(graph, opset_imports=opsets, functions=[function])
    assert output_shapes(recursive) == {}
    with pytest.raises(ModelError, match="inconsistent"):
        infer(recursive)


@pytest.mark.parametrize("look", [inlined, count, zero_channels])
def test_model_is_refused_when_a_function_is_defined_twice(look: object) -> None:
    twice = model({"f": ["Relu"]})
    twice.functions.append(twice.functions[0])
    with pytest.raises(ModelError, match="cannot be inlined"):
        look(twice)  # type: ignore[operator]
    assert output_shapes(twice) == {}
