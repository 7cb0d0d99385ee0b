"""Work of a graph including the subgraphs of If, Loop and Scan.

A condition or trip count that follows from constants and shapes is the same for every sample: the executed branch is
counted, and a body as often as it runs. For a data-dependent If the most expensive branch is counted, and the
difference between the branches is reported. A Loop with a data-dependent end has no bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx

from certify.model_file.onnx_graph.data_sized import captured, data_sized, false_constants, is_random, subgraphs
from certify.model_file.onnx_graph.known_values import (
    Known,
    common,
    copied,
    give,
    integers,
    next_operators,
    scalar,
    sized,
    sliced,
    stacked,
    take_out,
    tensors,
)
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS, attribute
from certify.model_file.onnx_graph.shapes import Inferred, fold_sized, infer, tensor_type
from certify.model_file.onnx_graph.traffic import bytes_moved
from certify.model_file.onnx_graph.work import Work, own_work

MAX_NODES = 100_000
"""Maximum number of nodes for shape inference, over all bodies and repetitions; further control flow is not counted."""
GRAPH_NODES = 100
"""Number of nodes that each further graph counts for: inference takes about a millisecond for any graph."""

Weights = Mapping[str, onnx.TensorProto]


class Ran(NamedTuple):
    """Result for a graph or operator: its work, and what is known of its outputs."""

    work: Work
    outputs: Sequence[Known]


class Counting:
    """Counter of a model and its subgraphs.

    Args:
        model: model without functions, with or without the values of its large weights.
        batch: batch size of its shapes.
    """

    def __init__(self, model: onnx.ModelProto, batch: int) -> None:
        self._model = model
        self._batch = batch
        self._left = MAX_NODES

    def run(self, sample: tuple[int, ...] | None = None) -> Work:
        """Count the whole model.

        Raises:
            ModelError: a graph contradicts itself.
        """
        return self._graph(self._model, sample).work

    def _graph(
        self,
        model: onnx.ModelProto,
        sample: tuple[int, ...] | None = None,
        steady: Sequence[str] = (),
        varying: Collection[str] | None = None,
    ) -> Ran:
        """Count a graph.

        Args:
            model: model with the graph.
            sample: shape of one sample without the batch.
            steady: names of inputs that are not constants but do not depend on the data.
            varying: names of values that differ between the trips of a body; None if it runs once.
        """
        inside = Work()
        inferred = infer(model, sample)
        if any(subgraphs(node) for node in model.graph.node):
            model = copied(model)
            inferred = self._take_out(model, sample, inside)
        graph = model.graph
        work = own_work(graph, inferred.values)
        work.moved = bytes_moved(graph, inferred.values, self._batch)
        work.add(inside)
        work.inside = inside.total
        if varying is not None:
            again = onnx.GraphProto(node=_independent(graph, varying))
            work.constant = own_work(again, inferred.values).total
        work.unbounded += data_sized(graph, {*inferred.constants, *steady})
        known: dict[str, Known] = {**inferred.types, **inferred.constants}
        return Ran(work, [known.get(value.name) for value in graph.output])

    def _take_out(self, model: onnx.ModelProto, sample: tuple[int, ...] | None, inside: Work) -> Inferred:
        """Remove the operators with subgraphs from a graph, in order; their outputs become inputs."""
        while True:
            # Repeated, because the results of one operator may fix the sizes that the next one needs.
            inferred = fold_sized(model, infer(model, sample))
            ready, waiting = next_operators(model.graph)
            if not ready and not waiting:
                return inferred
            weights, outputs = tensors(model), []
            self._left -= len(model.graph.node)
            for node in ready:
                ran = self._operator(node, inferred, weights) if self._left > 0 else _uncounted(node)
                inside.add(ran.work)
                outputs += list(itertools.zip_longest(node.output, ran.outputs[: len(node.output)]))
            take_out(model.graph, ready)
            for name, known in outputs:
                give(model.graph, name, known)

    def _operator(self, node: onnx.NodeProto, outer: Inferred, weights: Weights) -> Ran:
        bodies = subgraphs(node)
        if node.domain in STANDARD_DOMAINS and node.op_type == "If" and len(bodies) == 2:
            return self._if(node, outer, weights)
        if node.domain in STANDARD_DOMAINS and node.op_type == "Loop" and len(bodies) == 1:
            return self._loop(node, bodies[0], outer, weights)
        if node.domain in STANDARD_DOMAINS and node.op_type == "Scan" and len(bodies) == 1:
            return self._scan(node, bodies[0], outer, weights)
        return _uncounted(node)

    def _body(
        self,
        graph: onnx.GraphProto,
        inputs: Sequence[Known],
        outer: Inferred,
        weights: Weights,
        steady: Sequence[str] = (),
    ) -> Ran:
        body = onnx.GraphProto(name=graph.name, node=graph.node, initializer=graph.initializer, output=graph.output)
        for value, known in itertools.zip_longest(graph.input, inputs[: len(graph.input)]):
            give(body, value.name, known)
        for name in sorted(captured(graph)):
            if name in weights and name not in outer.constants:
                body.initializer.append(weights[name])
            else:
                give(body, name, outer.constants.get(name, outer.types.get(name)))
        self._left -= len(graph.node) + GRAPH_NODES
        model = onnx.helper.make_model(body, opset_imports=self._model.opset_import, ir_version=self._model.ir_version)
        if self._left < 0:
            return Ran(Work(unbounded=["control flow"], missed=["control flow"]), ())
        results = {name for node in graph.node if subgraphs(node) for name in node.output}
        varying = {value.name for value in graph.input} | results
        return self._graph(model, steady=steady, varying=varying)

    def _if(self, node: onnx.NodeProto, outer: Inferred, weights: Weights) -> Ran:
        bodies = {a.name: a.g for a in node.attribute}
        branches = [bodies.get("then_branch"), bodies.get("else_branch")]
        if branches[0] is None or branches[1] is None:
            return _uncounted(node)
        condition = outer.constants.get(node.input[0])
        if condition is not None and condition.size == 1:
            return self._body(branches[0] if bool(condition.flat[0]) else branches[1], (), outer, weights)
        first, second = (self._body(branch, (), outer, weights) for branch in branches if branch is not None)
        work = Work()
        # The more expensive branch: an upper bound, since the condition depends on the data.
        work.add(max(first.work, second.work, key=lambda option: option.total))
        work.missed = [*first.work.missed, *second.work.missed]
        work.unbounded = [*first.work.unbounded, *second.work.unbounded]
        work.differing = first.work.distance(second.work) + max(first.work.differing, second.work.differing)
        moved = [ran.work.moved for ran in (first, second)]
        work.moved = None if moved[0] is None or moved[1] is None else max(moved[0], moved[1])
        outputs = [common(*pair) for pair in zip(first.outputs, second.outputs, strict=False)]
        if work.missed or any(known is None for known in outputs):
            work.unbounded.append("If")
        return Ran(work, outputs)

    def _loop(self, node: onnx.NodeProto, body: onnx.GraphProto, outer: Inferred, weights: Weights) -> Ran:
        if len(body.input) < 2 or len(node.input) < 2 or len(body.output) < len(body.input) - 1:
            return _uncounted(node)
        carried = [sized(outer, name) for name in node.input[2:]]
        number = tensor_type(onnx.TensorProto.INT64, ())
        # The trip number is not a constant, but it is the same for every sample.
        steady = [body.input[0].name]
        ran = self._body(body, [number, np.array(True), *carried], outer, weights, steady)
        last, *outputs = ran.outputs
        # A loop whose number of trips is computed from the input has no bound that could be stated.
        trips = scalar(outer, node.input[0])
        starts = not node.input[1] or bool(scalar(outer, node.input[1]))
        # The body must always return "continue"; otherwise the data may end the loop.
        if trips is None or not starts or not isinstance(last, np.ndarray) or not bool(last.all()):
            return _uncounted(node, ran.work)
        trips = max(0, trips)
        after = [common(*pair) for pair in zip(carried, outputs, strict=False)]
        work = Work()
        work.add(ran.work, trips)
        if any(known is None for known in after) and (work.products or work.missed):
            work.missed.append("Loop")  # its carried values may grow
        collected = [stacked(known, trips, 0) for known in outputs[len(carried) :]]
        return Ran(work, [*after, *collected])

    def _scan(self, node: onnx.NodeProto, body: onnx.GraphProto, outer: Inferred, weights: Weights) -> Ran:
        scanned = attribute(node, "num_scan_inputs", 0)
        states = len(node.input) - scanned
        if not 0 < scanned <= len(node.input) or len(body.input) != len(node.input):
            return _uncounted(node)
        axes = integers(node, "scan_input_axes", scanned)
        kinds = [sized(outer, name) for name in node.input]
        slices = [sliced(kind, axis) for kind, axis in zip(kinds[states:], axes, strict=False)]
        lengths = {None if part is None else part.length for part in slices}
        # ONNX requires all scanned inputs to be equally long.
        length = next(iter(lengths))
        inputs = [*kinds[:states], *(None if part is None else part.kind for part in slices)]
        ran = self._body(body, inputs, outer, weights)
        if length is None or len(lengths) > 1 or len(slices) < scanned:
            return _uncounted(node, ran.work)
        after = [common(*pair) for pair in zip(kinds[:states], ran.outputs, strict=False)]
        work = Work()
        work.add(ran.work, length)
        if any(known is None for known in after) and (work.products or work.missed):
            work.missed.append("Scan")
        outs = integers(node, "scan_output_axes", len(body.output) - states)
        collected = [stacked(known, length, axis) for known, axis in zip(ran.outputs[states:], outs, strict=False)]
        return Ran(work, [*after, *collected])


def _independent(graph: onnx.GraphProto, varying: Collection[str]) -> list[onnx.NodeProto]:
    """Return the operators whose results do not depend on these values, nor on chance."""
    found, differing, false = [], set(varying), false_constants(graph)
    for node in graph.node:
        if is_random(node, false) or differing.intersection(node.input):
            differing.update(node.output)
        else:
            found.append(node)
    return found


def _uncounted(node: onnx.NodeProto, once: Work | None = None) -> Ran:
    """Return the result for an operator whose subgraphs run an unknown number of times."""
    work = Work()
    if once is not None:
        work.add(once)
    work.missed.append(node.op_type)
    work.unbounded.append(node.op_type)
    return Ran(work, ())
