"""Stacks of copies of a block as they ship, and the cost of one copy from the costs of stacks.

Copies of a block that keeps its shape are chained: the difference of two stacks cancels the cost of a runtime call and
of the ends of the file. A block that changes its shape is measured alone, with both. Blocks of 2-D convolutions in
floats are measured between layers in integers, because ONNX Runtime orders the values of the two differently, and
reordering takes time; so is the block in integers that they are compared with. Blocks in floats in a row need no
conversions between them; what these cost is the difference of a stack with and one without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import onnx

from certify.core.estimate import Estimate
from compress.core.timing import Feeding
from compress.costs import shipped_form as forms
from compress.costs.chains import between_layers, rounded_after, rounded_before, stacked
from compress.costs.cost_table import CONVERSIONS, METHOD, half_width
from compress.costs.items import FULL, Item
from compress.costs.shipped_form import Shipping
from compress.costs.timing import Cost, TimedFile

STACKED, FEWER = 6, 2
"""Copies in a stack, and in the smaller one with which it is compared."""
FEWER_LABEL = "fewer"
STACK_LABEL = "stack"
"""Label of the full block's stack itself, by which costs of different times are compared."""
BETWEEN_LABEL = "between layers"
"""Label of the stack of full blocks between layers in integers."""
ROW_LABEL = "in a row"
"""Label of the stack of full blocks in floats without integers between them."""


def copies_of(item: Item) -> int:
    """Return the number of copies in a stack of a block."""
    return STACKED if item.keeps_shape else 1


def full_stacks(item: Item) -> dict[str, int]:
    """Return the copies in each stack from which the cost of the full block follows, by label."""
    return {item.label(FULL): copies_of(item), **({FEWER_LABEL: FEWER} if item.keeps_shape else {})}


def layers_around(single: onnx.ModelProto, item: Item, form: Shipping) -> tuple[bool, bool]:
    """Return on which sides copies of a block in floats are measured next to a layer in integers: before, and after."""
    if not form.rounds_values or not any(node.op_type == "Conv" for node in single.graph.node):
        return False, False
    shapes = [port.type.tensor_type.shape.dim for port in (single.graph.input[0], single.graph.output[0])]
    images = [len(shape) == 4 and shape[1].dim_value > 0 for shape in shapes]
    return item.borders[0] and images[0], item.borders[1] and images[1]


def stack_file(
    single: onnx.ModelProto,
    count: int,
    item: Item,
    form: Shipping,
    path: Path,
    *,
    floats: bool = False,
    between: bool = False,
) -> TimedFile:
    """Write some copies of a block, as they ship, and return the file with its input.

    Args:
        single: the block as a float model.
        count: number of copies.
        item: block with its input and neighbours.
        form: form in which it ships.
        path: where to write.
        floats: whether each copy stays in floats, between integers.
        between: whether each copy is between layers in integers.

    Raises:
        ModelError: it cannot be quantized.
    """
    if between:
        stack = _between(single, count, item, form, floats=floats)
    else:
        stack = (_floats if floats else _integers)(single, count, item, form)
    names = (stack.graph.input[0].name,), stack.graph.output[0].name
    return TimedFile(forms.save(stack, path), Feeding(*names, item.input, input_shape=item.input.shape))


def _integers(single: onnx.ModelProto, copies: int, item: Item, form: Shipping) -> onnx.ModelProto:
    # Quantized after stacking, so that neighbouring copies exchange integers, as blocks do in the whole file.
    stack = stacked(single, copies)
    return forms.as_shipped(stack, form, [{stack.graph.input[0].name: item.input}])


def _floats(single: onnx.ModelProto, copies: int, item: Item, form: Shipping) -> onnx.ModelProto:
    """Return some copies of a block in floats, each between integers.

    A stack in integers is rounded only at its ends; this one is rounded before each copy and after the last. So the
    difference of two such stacks includes both conversions of each float block, as between integer neighbours.
    """
    before, after = item.borders
    stack = stacked(rounded_before(single, form) if before else single, copies)
    return rounded_after(stack, form) if after else stack


def _between(single: onnx.ModelProto, copies: int, item: Item, form: Shipping, *, floats: bool) -> onnx.ModelProto:
    sides = layers_around(single, item, form)
    stack = stacked(between_layers(single, sides), copies)
    own = [f"{copy}.{node.name}" for copy in range(copies) for node in single.graph.node] if floats else []
    shipped = forms.as_shipped(stack, form, [{stack.graph.input[0].name: item.input}], forms.KeptNodes(own))
    before, after = (floats and item.borders[side] and not sides[side] for side in (0, 1))
    shipped = rounded_before(shipped, form) if before else shipped
    return rounded_after(shipped, form) if after else shipped


def row_file(single: onnx.ModelProto, item: Item, form: Shipping, path: Path) -> TimedFile:
    """Write a stack of a block in floats, with integers only before the first copy and after the last.

    Args:
        single: the block as a float model.
        item: block with its input and neighbours; keeps its shape.
        form: form in which it ships.
        path: where to write.

    Raises:
        ModelError: it cannot be quantized.
    """
    row = stacked(single, copies_of(item))
    return stack_file(row, 1, item, form, path, floats=True, between=any(layers_around(single, item, form)))


def by_label(
    found: Mapping[str, Cost], full: str, copies: int, between: Collection[str] = (), floats: str = ""
) -> dict[str, Cost]:
    """Return costs of one copy by label, and the cost of the full stack, from stacks that were measured together.

    Args:
        found: costs of the stacks.
        full: label of the full block.
        copies: number of copies in a stack.
        between: labels of the stacks that are between layers in integers.
        floats: label of the full block in floats; needed with a row of them.
    """
    base = found[full]
    if FEWER_LABEL in found:
        # The two stacks differ by STACKED - FEWER copies and nothing else, so the runtime's call and the file's ends
        # cancel.
        base = _difference(found[full], found[FEWER_LABEL], STACKED - FEWER)
    costs = {full: base, STACK_LABEL: found[full]}
    for label, cost in found.items():
        if label not in (full, FEWER_LABEL, BETWEEN_LABEL, ROW_LABEL):
            # Not the stack's own cost divided by its copies, which would include a share of the file's ends.
            alike = found[BETWEEN_LABEL if label in between else full]
            costs[label] = _sum(base, _difference(cost, alike, copies))
    if ROW_LABEL in found:
        # Of the conversions and layers around each copy, a row has those of one copy.
        costs[CONVERSIONS] = _difference(found[floats], found[ROW_LABEL], copies - 1)
        if BETWEEN_LABEL in found:
            layers = _difference(found[BETWEEN_LABEL], found[full], copies)
            costs[CONVERSIONS] = _difference(costs[CONVERSIONS], layers, 1)
    return costs


def scaled(cost: Cost, new: Cost, old: Cost) -> Cost:
    """Return a cost times the ratio of the values of two others, which are positive.

    The error of the ratio is that of all costs it is applied to, so it does not widen the interval of each.

    Example:
        >>> one, two = (Cost(Estimate.exact(value, "s", "count"), None) for value in (1.0, 2.0))
        >>> scaled(two, two, one).duration_s.value
        4.0
    """
    joules = cost.energy_j
    if joules is not None and new.energy_j is not None and old.energy_j is not None:
        joules = joules.scaled(new.energy_j.value / old.energy_j.value)
    return Cost(cost.duration_s.scaled(new.duration_s.value / old.duration_s.value), joules)


def nothing(like: Cost) -> Cost:
    """Return a cost of 0, with the units and evidence of another."""
    return _each(like, like, lambda a, _: Estimate(0.0, 0.0, 0.0, a.unit, a.n, METHOD, a.evidence))


def _difference(more: Cost, less: Cost, copies: int) -> Cost:
    return _each(more, less, lambda a, b: _combined(a, b, (a.value - b.value) / copies, copies))


def _sum(first: Cost, second: Cost) -> Cost:
    return _each(first, second, lambda a, b: _combined(a, b, a.value + b.value, 1))


def _each(first: Cost, second: Cost, combine: Callable[[Estimate, Estimate], Estimate]) -> Cost:
    joules = None if first.energy_j is None or second.energy_j is None else combine(first.energy_j, second.energy_j)
    return Cost(combine(first.duration_s, second.duration_s), joules)


def _combined(first: Estimate, second: Estimate, value: float, copies: int) -> Estimate:
    # The two measurements are independent, so their errors add up in quadrature.
    half = math.hypot(half_width(first), half_width(second)) / copies
    return Estimate(value, value - half, value + half, first.unit, min(first.n, second.n), METHOD, first.evidence)
