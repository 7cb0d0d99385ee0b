"""Replacement of an If by one of its branches, whose values can then be compared and removed like all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from certify.model_file.onnx_graph.data_sized import subgraphs
from certify.model_file.onnx_graph.equal_values import OBSERVED
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS

BRANCHES = {True: "then_branch", False: "else_branch"}


def conditions(graph: onnx.GraphProto) -> list[str]:
    """Return the conditions of the Ifs of a graph, except those inside other operators."""
    return list(dict.fromkeys(node.input[0] for node in graph.node if _is_if(node)))


def looking_at_conditions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with a single output of all conditions as numbers, (1, conditions)."""
    looking = onnx.ModelProto()
    looking.CopyFrom(model)
    graph, make = looking.graph, onnx.helper.make_node
    graph.initializer.append(onnx.helper.make_tensor("leanmark.row", onnx.TensorProto.INT64, [2], [1, -1]))
    taken = []
    for number, name in enumerate(conditions(model.graph)):
        at = [f"leanmark.condition{number}", f"leanmark.condition{number}.row"]
        graph.node.append(make("Cast", [name], [at[0]], to=onnx.TensorProto.FLOAT))
        graph.node.append(make("Reshape", [at[0], "leanmark.row"], [at[1]]))
        taken.append(at[1])
    graph.node.append(make("Concat", taken, [OBSERVED], axis=1))
    graph.output.append(onnx.helper.make_tensor_value_info(OBSERVED, onnx.TensorProto.FLOAT, None))
    return looking


def with_branches(model: onnx.ModelProto, taken: Mapping[str, bool]) -> onnx.ModelProto:
    """Return a copy of a model in which one branch replaces each If with one of these conditions."""
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    nodes = list(flat.graph.node)
    del flat.graph.node[:]
    for node in nodes:
        known = _is_if(node) and node.input[0] in taken
        flat.graph.node.extend(_inlined(node, taken[node.input[0]], flat.graph) if known else [node])
    return flat


def _is_if(node: onnx.NodeProto) -> bool:
    names = {attribute.name for attribute in node.attribute}
    return node.op_type == "If" and node.domain in STANDARD_DOMAINS and names >= set(BRANCHES.values())


def _inlined(node: onnx.NodeProto, condition: bool, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    body = next(attribute.g for attribute in node.attribute if attribute.name == BRANCHES[condition])
    inner_names = [tensor.name for tensor in body.initializer] + [
        name for inner in body.node for name in inner.output if name
    ]
    # The branches of one or several Ifs may use the same names.
    names = {name: f"{node.output[0]}.branch.{name}" for name in inner_names}
    for tensor in body.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = names[tensor.name]
    for inner in body.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(inner)
        copy.ClearField("name")
        _rename(copy, names)
        yield copy
    for port, name in zip(body.output, node.output, strict=True):
        if name:
            yield onnx.helper.make_node("Identity", [names.get(port.name, port.name)], [name])


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename the values that a node and its subgraphs read and write, in place."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for port in graph.output:
            port.name = names.get(port.name, port.name)
