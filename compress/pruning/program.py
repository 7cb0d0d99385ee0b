"""A model as its sequence of operators, so that any inner value can be computed for samples, each operator once.

The graph is torch.export's, without in-place operators. Two models with the same code, such as one before and after
pruning, have the same operators in the same modules, which identifies corresponding values.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node, map_arg

from compress.core.foreign_code import MODEL_FAILURES
from compress.exchange.exporter_output import quiet, reason
from compress.exchange.operator_table import kept_operators

aten = torch.ops.aten
CONVOLUTIONS = frozenset(
    {aten.conv1d.default, aten.conv1d.padding, aten.conv2d.default, aten.conv2d.padding}
)  # fmt: skip
NORM = aten._native_batch_norm_legit_no_training.default
OF_ANY_WIDTH = CONVOLUTIONS | {
    NORM, aten.linear.default, aten.add.Tensor, aten.mul.Tensor, aten.relu.default, aten.gelu.default,
    aten.silu.default, aten.hardswish.default, aten.hardtanh.default, aten.sigmoid.default, aten.hardsigmoid.default,
    aten.max_pool2d.default, aten.avg_pool2d.default, operator.getitem,
}  # fmt: skip
"""Operators without the number of channels among their arguments, apart from grouped convolutions."""
Key = tuple[str, str, int]
"""The module that runs an operator, the operator, and how many of its kind that module ran before."""


class NotTraceable(Exception):
    """The operators of a model cannot be listed; the message says why."""


@dataclass(frozen=True)
class Region:
    """The operators of one module that maps one value to one value.

    Attributes:
        input: node of the only value that it takes and that depends on the samples.
        output: node of the only value that others take from it.
        inside: its operators, including the output.
    """

    input: Node
    output: Node
    inside: frozenset[Node]


@dataclass(frozen=True)
class Program:
    """The operators of a model for a fixed number of samples.

    Attributes:
        model: model whose tensors they read, with their values at that time.
        nodes: nodes in the order in which they run.
        sample: the node of the samples.
        tensors: name of the parameter or buffer behind a node.
        constants: tensors created by the model's code.
        keys: keys of the nodes that are operators.
        varying: nodes whose values depend on the samples.
    """

    model: nn.Module
    nodes: tuple[Node, ...]
    sample: Node
    tensors: dict[Node, str]
    constants: dict[Node, torch.Tensor]
    keys: dict[Node, Key]
    varying: frozenset[Node]

    @classmethod
    def of(cls, model: nn.Module, sample: torch.Tensor) -> Program:
        """List the operators of a model.

        Args:
            model: model in eval mode.
            sample: (n, ...) samples; the program runs on that many at a time.

        Raises:
            NotTraceable: torch.export cannot trace the model's code.
        """
        exported = _exported(model, sample)
        nodes = tuple(exported.graph.nodes)
        strange = [node.op for node in nodes if node.op not in ("placeholder", "call_function", "output")]
        if strange:
            raise NotTraceable("its code runs operators inside of conditions or loops")
        user_input, tensors, constants = None, {}, {}
        # Placeholders come first in the graph, in the order of the specs; the operators after them have none.
        for node, spec in zip(nodes, exported.graph_signature.input_specs, strict=False):
            if spec.kind is InputKind.USER_INPUT:
                user_input = node
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                constants[node] = exported.constants[spec.target]
            elif spec.target is not None:
                tensors[node] = spec.target
        assert user_input is not None
        return cls(model, nodes, user_input, tensors, constants, _keys(nodes), _followers(nodes, user_input))

    def tensor(self, node: Node) -> torch.Tensor:
        """Return the current parameter, buffer or constant behind a node."""
        if node in self.constants:
            return self.constants[node]
        path, _, name = self.tensors[node].rpartition(".")
        tensor: torch.Tensor = getattr(self.model.get_submodule(path), name)
        return tensor.detach()

    def evaluate(self, nodes: Iterable[Node], values: dict[Node, Any]) -> None:
        """Run operators one after the other, adding their outputs to ``values``.

        Args:
            nodes: nodes in an order in which they can run.
            values: values of their inputs, except for parameters, buffers and constants.
        """

        def value(node: Node) -> Any:
            return values[node] if node in values else self.tensor(node)

        for node in nodes:
            if node.op == "call_function" and node not in values:
                assert callable(node.target)
                values[node] = node.target(*map_arg(node.args, value), **map_arg(node.kwargs, value))

    def constant(self, node: Node) -> Any:
        """Return a value that does not depend on the samples."""
        if node.op == "placeholder":
            return self.tensor(node)
        values: dict[Node, Any] = {}
        self.evaluate(self.ordered(ancestors([node], frozenset())), values)
        return values[node]

    @property
    def fits_any_width(self) -> bool:
        """Whether the same operators run the model after units were cut out, so that it need not be traced again."""
        known = all(node.target in OF_ANY_WIDTH for node in self.keys)
        return known and all(node.args[6:] in ((), (1,)) for node in self.keys if node.target in CONVOLUTIONS)

    @property
    def output(self) -> Node | None:
        """The node of the model's output, or None if that is not one value."""
        (given,) = self.nodes[-1].args
        only = given[0] if isinstance(given, (tuple, list)) and len(given) == 1 else None
        return only if isinstance(only, Node) and only in self.varying else None

    def region(self, path: str) -> Region | None:
        """Return the operators of a module, or None if values other than one enter or leave it.

        Args:
            path: path of the module; not empty.
        """
        inside = frozenset(node for node in self.keys if path in _paths(node))
        taken = {each for node in inside for each in node.all_input_nodes if each not in inside}
        varying = taken & self.varying
        left = [node for node in inside if any(user not in inside for user in node.users)]
        # A value that others read too and that does not depend on the samples could change with the module.
        if len(varying) != 1 or len(left) != 1 or left[0] not in self.varying:
            return None
        return Region(varying.pop(), left[0], inside)

    def ordered(self, some: Iterable[Node]) -> list[Node]:
        """Return nodes in the order in which they run."""
        wanted = set(some)
        return [node for node in self.nodes if node in wanted]


def _exported(model: nn.Module, sample: torch.Tensor) -> ExportedProgram:
    """Trace a model without in-place operators."""
    try:
        with quiet(), kept_operators(), torch.no_grad():
            # The empty table decomposes nothing, but makes in-place operators functional.
            traced: ExportedProgram = torch.export.export(model, (sample,), strict=False).run_decompositions({})
    except (*MODEL_FAILURES, torch._dynamo.exc.TorchDynamoException) as error:
        raise NotTraceable(f"torch.export cannot trace its code ({reason(error)})") from error
    return traced


def ancestors(wanted: Sequence[Node], known: Iterable[Node]) -> set[Node]:
    """Return the nodes that must run for some values, including those, given the known ones."""
    known, found, waiting = set(known), set(), list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in known and node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _followers(nodes: Sequence[Node], start: Node) -> frozenset[Node]:
    """Return the nodes whose values depend on one."""
    found = {start}
    for node in nodes:
        if any(taken in found for taken in node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def _keys(nodes: Sequence[Node]) -> dict[Node, Key]:
    seen: Counter[tuple[str, str]] = Counter()
    keys = {}
    for node in nodes:
        if node.op == "call_function":
            kind = (_paths(node)[-1], str(node.target))
            keys[node] = (*kind, seen[kind])
            seen[kind] += 1
    return keys


def _paths(node: Node) -> list[str]:
    """Return the paths of the modules that run an operator, the innermost last."""
    return [str(path) for path, *_ in (node.meta.get("nn_module_stack") or {"": ("",)}).values()]
