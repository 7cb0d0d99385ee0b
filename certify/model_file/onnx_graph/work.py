"""Work of a graph without control flow: multiply-adds and written elements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from certify.model_file.onnx_graph.data_sized import subgraphs
from certify.model_file.onnx_graph.operators import (
    RECURRENT,
    SHAPE_TWINS,
    STANDARD_DOMAINS,
    UNCOUNTED,
    Compute,
    attribute,
    compute_of,
)
from certify.model_file.onnx_graph.traffic import Value

ELEMENT_MACS = 10
"""Multiply-adds that one written element counts for in comparisons of branches: it is read from and written to memory,
while the operands of multiply-adds are reused many times. A convention, not a measurement."""


@dataclass
class Work:
    """Work of a graph in one run.

    Attributes:
        products: number of runs of multiplying operators, by type and multiply-adds of one run.
        operators: number of counted multiplying operators.
        written: number of runs of all operators with known shapes, by type and elements written in one run.
        missed: types of multiplying operators that could not be counted.
        unbounded: types of operators with data-dependent work and no known bound.
        differing: differences in work between the branches of each data-dependent If, in multiply-adds.
        moved: bytes that multiplying operators read and write; None if unknown.
        inside: part of the total that is in the subgraphs of operators.
        constant: part of the total of a body that is the same in each trip.
        repeated: part of the total that repeats what an earlier trip of a Loop or Scan did.
    """

    products: Counter[tuple[str, int]] = field(default_factory=Counter)
    operators: int = 0
    written: Counter[tuple[str, int]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    unbounded: list[str] = field(default_factory=list)
    differing: int = 0
    moved: int | None = 0
    inside: int = 0
    constant: int = 0
    repeated: int = 0

    @property
    def macs(self) -> int:
        """Multiply-adds of all counted operators."""
        return _times(self.products)

    @property
    def total(self) -> int:
        """Total work in multiply-adds."""
        return self.macs + ELEMENT_MACS * _times(self.written)

    @property
    def varying_share(self) -> float:
        """Fraction (0 to 1) of the work that depends on the data; 1 if it is unbounded."""
        if self.unbounded:
            return 1.0
        return min(1.0, self.differing / self.total) if self.differing else 0.0

    def add(self, other: Work, times: int = 1) -> None:
        """Add the work of a graph that runs ``times`` times in each run of this one."""
        for key, count in other.products.items():
            self.products[key] += count * times
        self.operators += other.operators
        for key, count in other.written.items():
            self.written[key] += count * times
        self.missed += other.missed
        self.unbounded += other.unbounded
        self.differing += other.differing * times
        self.repeated += other.repeated * times + other.constant * max(0, times - 1)
        self.moved = None if self.moved is None or other.moved is None else self.moved + other.moved * times

    def distance(self, other: Work) -> int:
        """Return the work of operators that only one of two graphs runs; a Reshape does not equal a Sin of its size."""
        products = (self.products - other.products) + (other.products - self.products)
        written = (self.written - other.written) + (other.written - self.written)
        return _times(products) + ELEMENT_MACS * _times(written)


def _times(runs: Mapping[tuple[str, int], int]) -> int:
    """Return the sum of sizes by the number of runs."""
    return sum(size * count for (_, size), count in runs.items())


def own_work(graph: onnx.GraphProto, values: Mapping[str, Value]) -> Work:
    """Return the work of the operators of a graph, except those with subgraphs.

    Args:
        graph: graph without functions.
        values: shapes and types by name.
    """
    work = Work()
    for node in graph.node:
        if subgraphs(node):
            continue
        work.written[node.op_type, sum(math.prod(values[name].shape) for name in node.output if name in values)] += 1
        macs = macs_of(node, values)
        if macs is not None:
            work.products[node.op_type, macs] += 1
            work.operators += 1
        elif multiplies(node):
            work.missed.append(node.op_type)
    return work


def multiplies(node: onnx.NodeProto) -> bool:
    """Return whether an operator multiplies, or may do so."""
    if compute_of(node) is not None or node.op_type in UNCOUNTED | RECURRENT:
        return True
    return node.domain not in STANDARD_DOMAINS and node.op_type not in SHAPE_TWINS


def macs_of(node: onnx.NodeProto, values: Mapping[str, Value]) -> int | None:
    """Return the multiply-adds of an operator; None if it does not multiply, or cannot be counted."""
    if node.op_type == "Einsum" and node.domain in STANDARD_DOMAINS:
        return _einsum_macs(node, values)
    if node.op_type in RECURRENT and node.domain in STANDARD_DOMAINS:
        return _recurrent_macs(node, values)
    compute = compute_of(node)
    return None if compute is None else multiply_adds(node, compute, values)


def _einsum_macs(node: onnx.NodeProto, values: Mapping[str, Value]) -> int | None:
    """Return the multiply-adds of a product of two operands: the product of the sizes of all indices."""
    equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    shapes = [values[name].shape for name in node.input if name in values]
    if len(terms) != 2 or [len(shape) for shape in shapes] != [len(term) for term in terms] or "." in equation:
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=True):
            # The larger one, because a size of 1 is broadcast.
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


def _recurrent_macs(node: onnx.NodeProto, values: Mapping[str, Value]) -> int | None:
    """Return the multiply-adds of a recurrence: each sample of each step is multiplied by all weights."""
    operands = [values.get(name) for name in node.input[:3]]
    if len(operands) < 3 or operands[0] is None or operands[1] is None or operands[2] is None:
        return None
    return math.prod(operands[0].shape[:2]) * (math.prod(operands[1].shape) + math.prod(operands[2].shape))


def multiply_adds(node: onnx.NodeProto, compute: Compute, values: Mapping[str, Value]) -> int | None:
    """Return the multiply-adds of a multiplying operator; None if shapes are unknown."""
    output = values.get(node.output[0])
    if compute.kind == "blocks":
        return None if output is None else math.prod(output.shape) * attribute(node, "K", 0)
    operands = [values.get(node.input[place]) for place in (compute.data, compute.weight)]
    if operands[0] is None or operands[1] is None or output is None:
        return None
    data, weight, out = operands[0].shape, operands[1].shape, output.shape
    if compute.kind == "conv":
        # The weight is (outputs, inputs per group, taps), so its other sizes are the products of one output value.
        return math.prod(out) * math.prod(weight[1:])
    if compute.kind == "conv_transpose":
        # Stored as (inputs, outputs per group, taps): each input value is multiplied by all of them.
        return math.prod(data) * math.prod(weight[1:])
    if compute.kind == "gemm":
        return math.prod(out) * data[0 if attribute(node, "transA", 0) else 1]
    return math.prod(out) * data[-2 if attribute(node, "transA", 0) else -1]
