"""A model as the operators that it runs, so that any value inside of it can be had for samples, each computed once.

The graph is torch.export's, without in-place operators. Two models of one kind of code, such as one before and after
pruning, have the same operators in the same modules, by which their values are matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export.graph_signature import InputKind
from torch.fx import Node, map_arg

from compress.core.foreign_code import MODEL_FAILURES
from compress.exchange.exporter_output import quiet, reason

aten = torch.ops.aten
CONVOLUTIONS = frozenset(
    {aten.conv1d.default, aten.conv1d.padding, aten.conv2d.default, aten.conv2d.padding}
)  # fmt: skip
NORM = aten._native_batch_norm_legit_no_training.default
Key = tuple[str, str, int]
"""The module that runs an operator, the operator, and how many of its kind that module ran before."""


class NotTraceable(Exception):
    """A model whose operators can't be listed; the text says why."""


@dataclass(frozen=True)
class Program:
    """The operators of a model for one number of samples.

    Attributes:
        model: whose tensors they read, as they are when an operator runs.
        nodes: in the order in which they run.
        given: the node of the samples.
        tensors: name of the parameter or buffer that a node stands for.
        constants: tensors that the model's code made.
        keys: of each node that is an operator.
        varying: the nodes whose values depend on the samples.
    """

    model: nn.Module
    nodes: tuple[Node, ...]
    given: Node
    tensors: dict[Node, str]
    constants: dict[Node, torch.Tensor]
    keys: dict[Node, Key]
    varying: frozenset[Node]

    @classmethod
    def of(cls, model: nn.Module, sample: torch.Tensor) -> Program:
        """List the operators of a model.

        Args:
            model: in eval mode.
            sample: (n, ...) samples; the program runs on as many at a time.

        Raises:
            NotTraceable: torch.export can't follow the model's code.
        """
        try:
            with quiet(), torch.no_grad():
                exported = torch.export.export(model, (sample,), strict=False).run_decompositions({})
        except (*MODEL_FAILURES, torch._dynamo.exc.TorchDynamoException) as error:
            raise NotTraceable(f"torch.export could not follow its code ({reason(error)})") from error
        nodes = tuple(exported.graph.nodes)
        strange = [node.op for node in nodes if node.op not in ("placeholder", "call_function", "output")]
        if strange:
            raise NotTraceable("its code runs operators inside of conditions or loops")
        given, tensors, constants = None, {}, {}
        for node, spec in zip(nodes, exported.graph_signature.input_specs, strict=False):
            if spec.kind is InputKind.USER_INPUT:
                given = node
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                constants[node] = exported.constants[spec.target]
            elif spec.target is not None:
                tensors[node] = spec.target
        assert given is not None
        return cls(model, nodes, given, tensors, constants, _keys(nodes), _followers(nodes, given))

    def of_key(self, key: Key) -> Node | None:
        """The operator with a key, or None."""
        return next((node for node, own in self.keys.items() if own == key), None)

    def tensor(self, node: Node) -> torch.Tensor:
        """The parameter, buffer or constant that a node stands for, as it is now."""
        if node in self.constants:
            return self.constants[node]
        path, _, name = self.tensors[node].rpartition(".")
        tensor: torch.Tensor = getattr(self.model.get_submodule(path), name)
        return tensor.detach()

    def evaluate(self, nodes: Iterable[Node], values: dict[Node, Any]) -> None:
        """Run operators one after the other, adding what they give to ``values``.

        Args:
            nodes: in an order in which they can run.
            values: of what they take, but for parameters, buffers and constants.
        """

        def value(node: Node) -> Any:
            return values[node] if node in values else self.tensor(node)

        for node in nodes:
            if node.op == "call_function" and node not in values:
                assert callable(node.target)
                values[node] = node.target(*map_arg(node.args, value), **map_arg(node.kwargs, value))

    def constant(self, node: Node) -> Any:
        """A value that does not depend on the samples."""
        if node.op == "placeholder":
            return self.tensor(node)
        values: dict[Node, Any] = {}
        self.evaluate(self.ordered(ancestors([node], frozenset())), values)
        return values[node]

    def ordered(self, some: Iterable[Node]) -> list[Node]:
        """Nodes in the order in which they run."""
        wanted = set(some)
        return [node for node in self.nodes if node in wanted]


def ancestors(wanted: Sequence[Node], known: Iterable[Node]) -> set[Node]:
    """The nodes that have to run for some values, those included, where others are known."""
    known, found, waiting = set(known), set(), list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in known and node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _followers(nodes: Sequence[Node], given: Node) -> frozenset[Node]:
    """The nodes whose values depend on one."""
    found = {given}
    for node in nodes:
        if any(taken in found for taken in node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def _keys(nodes: Sequence[Node]) -> dict[Node, Key]:
    seen: Counter[tuple[str, str]] = Counter()
    keys = {}
    for node in nodes:
        if node.op == "call_function":
            path = next(reversed((node.meta.get("nn_module_stack") or {"": ("",)}).values()))[0]
            kind = (str(path), str(node.target))
            keys[node] = (*kind, seen[kind])
            seen[kind] += 1
    return keys
