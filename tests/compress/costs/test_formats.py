"""Blocks of a file stay in floats where rounding them loses most for what it saves."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from certify.core.estimate import Estimate
from compress.core.targets import TARGETS
from compress.costs import cost_table, formats
from compress.costs.cost_table import CONVERSIONS
from compress.costs.goal import TRIES
from compress.costs.items import Item
from compress.costs.shipped_form import Shipping
from compress.costs.stacks import (
    BETWEEN_LABEL,
    ROW_LABEL,
    _between,
    _floats,
    _integers,
    by_label,
    layers_around,
    row_file,
)
from compress.costs.timing import Cost
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.segments import cut_out, find_segments, signature
from compress.passes.quantize_static import QuantizeStatic
from compress.quantization.post_training.prepare import prepared
from compress.quantization.post_training.weight_only import ONLY_PRODUCTS

VNNI = TARGETS["cpu-vnni"]
INT8 = Shipping("int8", VNNI, "all")


def by_formats(**target) -> QuantizeStatic:
    return QuantizeStatic(samples=16, loss_samples=16, **target)


@pytest.fixture
def graph(onnx_file, tmp_path) -> Graph:
    return Graph(prepared(onnx_file, tmp_path))


def kinds(graph, segment):
    types = {node.name: node.op_type for node in graph.nodes}
    return [types[name] for name in segment.nodes]


def test_segment_ends_where_everything_passes_through_one_value(graph):
    found = [kinds(graph, each) for each in find_segments(graph)]
    assert [[kind for kind in each if kind in ("Conv", "Add", "Gemm")] for each in found] == [
        ["Conv"], ["Conv", "Add"], ["Conv"], ["Conv", "Add"], ["Gemm"]
    ]  # fmt: skip
    assert sum(map(len, found)) == len(graph.nodes)


def test_segments_give_the_outputs_of_the_whole_when_run_one_after_the_other(graph, context):
    (name,) = context.preprocess.input_names
    value = samples = context.samples(2)
    for segment in find_segments(graph):
        alone = onnxruntime.InferenceSession(cut_out(graph, segment).SerializeToString())
        (value,) = alone.run([segment.output], {segment.input: value})
    (wanted,) = onnxruntime.InferenceSession(graph.model.SerializeToString()).run(None, {name: samples})
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


def test_no_segment_begins_at_several_inputs():
    node = onnx.helper.make_node("Add", ["x", "y"], ["z"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xyz"]
    graph = onnx.helper.make_graph([node], "sum", ports[:2], ports[2:])
    assert find_segments(Graph(onnx.helper.make_model(graph))) == []


def test_signature_is_shared_when_only_names_and_weights_differ(graph):
    first = cut_out(graph, find_segments(graph)[1])
    renamed = onnx.compose.add_prefix(first, "other.")
    weight = next(tensor for tensor in renamed.graph.initializer if len(tensor.dims) == 4)
    other = onnx.numpy_helper.to_array(weight) + 1
    weight.CopyFrom(onnx.numpy_helper.from_array(other, weight.name))
    shape = (1, 16, 16, 16)
    assert signature(first, shape) == signature(renamed, shape) != signature(first, (1, 16, 8, 8))
    assert signature(first, shape) != signature(cut_out(graph, find_segments(graph)[3]), shape)


def borders(model):
    """Count the values that leave floats: the input, or the output of an operator that reads no integers."""
    graph, count = Graph(model), 0
    for node in graph.nodes:
        before = graph.producers.get(node.input[0])
        read = [] if before is None else [graph.producers.get(name) for name in before.input]
        integers = any(each is not None and each.op_type == "DequantizeLinear" for each in read)
        count += node.op_type == "QuantizeLinear" and node.input[0] not in graph.tensors and not integers
    return count


@pytest.mark.parametrize("copies", [1, 3])
def test_float_block_is_measured_with_the_borders_that_it_has_between_integers(graph, copies):
    """A stack of integers is rounded at its ends only; one of floats before each block and at its end."""
    single = cut_out(graph, find_segments(graph)[1])
    item = Item("first", (), np.zeros((1, 16, 16, 16), np.float32), True, (), "")

    assert borders(_floats(single, copies, item, INT8)) == copies + 1
    assert borders(_integers(single, copies, item, INT8)) == 1
    assert borders(_floats(single, copies, replace(item, borders=(False, True)), INT8)) == 1
    weights_only = replace(INT8, operators="weights")
    assert borders(_floats(single, copies, item, weights_only)) == 0


def runs(model, item):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: item.input})[0].shape


@pytest.mark.parametrize("sides", [(True, True), (False, True), (True, False)])
def test_float_block_of_convolutions_is_measured_between_layers_in_integers(graph, sides):
    single = cut_out(graph, find_segments(graph)[1])
    item = Item("first", (), np.random.default_rng(0).random((1, 16, 16, 16), np.float32), True, (), "", sides)
    assert layers_around(single, item, INT8) == sides
    assert layers_around(single, item, replace(INT8, operators="weights")) == (False, False)
    assert layers_around(single, item, replace(INT8, precision="float")) == (False, False)
    own = {f"{copy}.{node.name}" for copy in range(2) for node in Graph(single).weighted()}
    for floats in (True, False):
        stack = Graph(_between(single, 2, item, INT8, floats=floats))
        assert sum(node.name.endswith(".layer") for node in stack.nodes) == 2 * sum(sides)
        assert {node.name for node in stack.weighted()} == (own if floats else set())
        assert runs(stack.model, item) == item.input.shape


def test_block_that_ends_in_a_pool_is_rounded_where_no_layer_can_be(graph):
    """The last block of a classifier includes the mean over positions, so its output has no positions."""
    single = cut_out(graph, find_segments(graph)[3])
    item = Item("last", (), np.random.default_rng(0).random((1, 32, 8, 8), np.float32), False, (), "")
    assert layers_around(single, item, INT8) == (True, False)
    stack = _between(single, 1, item, INT8, floats=True)
    assert borders(stack) == 2, "at both ends"
    assert runs(stack, item) == (1, 32)
    assert borders(_between(single, 1, replace(item, borders=(True, False)), INT8, floats=True)) == 1


def test_float_variant_costs_what_it_adds_to_the_stack_between_layers():
    def seconds(value):
        return Cost(Estimate(value, value, value, "s", 24, "made up"), None)

    stacks = {"full": 6.0, "fewer": 2.0, BETWEEN_LABEL: 9.0, "float": 15.0, "4": 3.0}
    costs = by_label({label: seconds(value) for label, value in stacks.items()}, "full", 6, {"float"})
    assert {label: cost.duration_s.value for label, cost in costs.items()} == {
        "full": 1.0, "stack": 6.0, "float": 2.0, "4": 0.5
    }  # fmt: skip


@pytest.mark.parametrize("layers", [0.0, 0.5])
def test_conversions_are_what_a_row_of_float_blocks_saves(layers):
    """A call of the runtime costs 1, a block 2 in integers and 3 in floats, and conversions 0.75."""

    def cost(value):
        return Cost(Estimate(value, value - 0.01, value + 0.01, "s", 24, "made up"), None)

    around = 0.75 + layers
    stacks = {"full": 1 + 6 * 2, "fewer": 1 + 2 * 2, "float": 1 + 6 * (3 + around), ROW_LABEL: 1 + 6 * 3 + around}
    stacks |= {BETWEEN_LABEL: 1 + 6 * (2 + layers)} if layers else {}
    found = {label: cost(value) for label, value in stacks.items()}
    costs = by_label(found, "full", 6, {"float"} if layers else set(), "float")
    assert costs["float"].duration_s.value == pytest.approx(3.75)
    saved = costs[CONVERSIONS].duration_s
    assert saved.value == pytest.approx(0.75)
    assert 0 < saved.high - saved.value < 0.01
    assert ROW_LABEL not in costs


def test_row_of_float_blocks_is_between_integers_at_its_ends_only(graph, tmp_path):
    single = cut_out(graph, find_segments(graph)[1])
    item = Item("first", (), np.random.default_rng(0).random((1, 16, 16, 16), np.float32), True, (), "")
    row = Graph(onnx.load(row_file(single, item, INT8, tmp_path / "row.onnx").path))
    assert sum(node.name.endswith(".layer") for node in row.nodes) == 2
    assert len(row.weighted()) == 6 * len(Graph(single).weighted())
    assert runs(row.model, item) == item.input.shape


def float_layers(path):
    graph = Graph(onnx.load(path))
    return {node.name for node in graph.weighted()}


@pytest.mark.parametrize("share", [0.4, 0.5, 0.7])
def test_formats_lose_least_among_all_that_meet_the_requested_cost(timer, monkeypatch, onnx_file, context, share):
    asked = []
    honest = cost_table.choose
    monkeypatch.setattr(cost_table, "choose", lambda *given: asked.append(given) or honest(*given))
    made, record = by_formats(energy=share).apply(onnx_file, context)
    found = record.done["formats"]
    predicted, measured = (Estimate.from_json(found[name]) for name in ("predicted_share", "measured_share"))
    assert predicted.value <= share + 1e-9
    assert measured.value == pytest.approx(predicted.value, abs=1e-3)
    ((items, budget, shared),) = asked
    assert shared == pytest.approx([0.0] * len(items), abs=1e-12), "conversions cost nothing here"
    best = min(
        sum(option.loss for option in options)
        for options in itertools.product(*items)
        if sum(option.cost for option in options) <= budget
    )
    assert found["divergence"] == pytest.approx(best)
    assert all(rounded.loss > 0 == floats.loss for rounded, floats in items)
    assert record.done["predicted"] == {"energy_ratio": found["predicted_share"], "threads": 1}
    assert float_layers(made) == set(record.done["left_float"])
    assert 0 < len(float_layers(made)) < 5


def test_prediction_does_not_refer_to_the_original_when_an_earlier_pass_changed_it(timer, onnx_file, context):
    _, record = by_formats(energy=0.5).apply(onnx_file, replace(context, earlier=({"macs_share": 0.5},)))
    assert "predicted" not in record.done
    assert record.done["formats"]["predicted_share"]


def test_every_layer_becomes_integers_when_the_share_is_the_least(timer, onnx_file, context):
    made, record = by_formats(latency=0.331).apply(onnx_file, context)
    assert record.done["formats"]["blocks_float"] == 0
    assert float_layers(made) == set()
    assert record.done["formats"]["asked"] == {"latency": 0.331}


def test_file_is_declined_when_integers_cost_more_than_requested(timer, onnx_file, context):
    same, record = by_formats(energy=0.2).apply(onnx_file, context)
    assert same == onnx_file
    why = record.declined[0].why
    assert why.startswith("0.2 of the energy cannot be reached: with the cheapest format of each block, 0.3")
    assert why.endswith(" remains")


def test_file_is_declined_when_integers_cost_more_in_every_block(timer, onnx_file, context, monkeypatch):
    """The whole float file is made to look cheaper, so that even all blocks in floats meet the request."""
    timer.integer = 4.0
    honest = type(timer).weights
    call = 10_000  # of the float file: a reader of the table that is off by that much

    def weights(self, file):
        return honest(self, file) + (call if file.path.name == "float.onnx" else 0)

    monkeypatch.setattr(type(timer), "weights", weights)
    same, record = by_formats(energy=0.9).apply(onnx_file, context)
    assert same == onnx_file
    assert "with every block in floats, nothing is saved" in record.declined[0].why


@pytest.fixture
def costlier(monkeypatch):
    """Multiply the cost of each tried file by a factor; returns the factors, and the float nodes of each try."""
    measured, made, factors, tried = formats.FormatChoice._side_by_side, formats.FormatChoice._made, [], []

    def making(self, name, choice):
        if name == "chosen":
            tried.append(set(choice.floats))
        return made(self, name, choice)

    def side_by_side(self, file):
        found = measured(self, file)
        if not tried:
            return found
        windows = tuple(factors[len(tried) - 1] * each for each in found["chosen"].windows_j)
        return {**found, "chosen": replace(found["chosen"], windows_j=windows)}

    monkeypatch.setattr(formats.FormatChoice, "_made", making)
    monkeypatch.setattr(formats.FormatChoice, "_side_by_side", side_by_side)
    return factors, tried


def test_fewer_blocks_stay_float_when_the_chosen_file_costs_more_than_predicted(timer, onnx_file, context, costlier):
    factors, tried = costlier
    factors[:] = [1.3, 1.3]
    _, record = by_formats(energy=0.7).apply(onnx_file, context)
    first, second = tried
    assert second < first
    assert Estimate.from_json(record.done["formats"]["measured_share"]).value <= 0.7


@pytest.mark.parametrize(("excess", "accepted"), [(0.01, True), (0.03, False)])
def test_file_is_chosen_again_unless_it_costs_hardly_more_than_requested(
    timer, onnx_file, context, costlier, excess, accepted
):
    factors, tried = costlier
    factors[:] = [1.0]
    share = Estimate.from_json(by_formats(energy=0.7).apply(onnx_file, context)[1].done["formats"]["measured_share"])
    tried.clear()
    factors[:] = [0.7 * (1 + excess) / share.value] * TRIES
    by_formats(energy=0.7).apply(onnx_file, context)
    assert (len(tried) == 1) == accepted


def test_formats_stay_as_they_were_when_the_table_comes_from_the_cache(timer, onnx_file, context):
    _, first = by_formats(energy=0.5).apply(onnx_file, context)
    _, second = by_formats(energy=0.5).apply(onnx_file, context)
    assert (first.done["formats"]["blocks_measured"], second.done["formats"]["blocks_measured"]) == (5, 0)
    assert first.done["left_float"] == second.done["left_float"]


def test_block_is_left_out_of_the_choice_when_the_recipe_keeps_its_layer_float(timer, onnx_file, context):
    _, record = by_formats(energy=0.5, keep_first=True).apply(onnx_file, context)
    assert record.done["formats"]["blocks"] == 4


def test_node_that_was_to_stay_float_is_noted_when_it_has_another_name(onnx_file, context):
    convolution = next(node.name for node in onnx.load(onnx_file).graph.node if node.op_type == "Conv")
    bare = onnx.load(onnx_file)
    for node in bare.graph.node:
        node.ClearField("metadata_props")
    onnx.save(bare, onnx_file)
    notes = {}
    for renamed in ([], ["renamed"]):
        earlier = ({"float_blocks": ["a", "b"], "float_nodes": [convolution, *renamed]},)
        quantized, record = QuantizeStatic(samples=16).apply(onnx_file, replace(context, earlier=earlier))
        assert float_layers(quantized) == {convolution}
        notes[len(renamed)] = [each.why for each in record.declined if each.what == "choice of formats"]
    assert notes[0] == []
    (why,) = notes[1]
    assert why.startswith("1 of 2 parts with a chosen format are no longer in the file, such as 'renamed'; ")


def test_chosen_formats_are_declined_when_they_lose_more_than_the_budget(timer, onnx_file, context, monkeypatch):
    from compress.quantization.post_training.quantizer import Quantizer

    monkeypatch.setattr(Quantizer, "excess", lambda self, made: 9.0)
    same, record = by_formats(energy=0.5, max_loss=1).apply(onnx_file, context)
    assert same == onnx_file
    assert "allow more with a larger share of the cost" in record.declined[0].why


def test_energy_is_declined_when_no_meter_measures_joules(timer, monkeypatch, onnx_file, context):
    plain = type(timer).__call__

    def without(self, files):
        return {name: replace(cost, energy_j=None) for name, cost in plain(self, files).items()}

    monkeypatch.setattr(type(timer), "__call__", without)
    assert by_formats(energy=0.5).apply(onnx_file, context)[1].declined[0].why == formats.NO_METER


def test_file_is_declined_when_no_adapter_runs_files_for_the_target(onnx_file, context):
    _, record = by_formats(energy=0.5, target="cuda-tensorrt").apply(onnx_file, context)
    assert "no adapter runs its files" in record.declined[0].why


def test_loss_of_a_block_is_measured_with_no_other_block_rounded(timer, onnx_file, context, monkeypatch):
    floats, honest = [], formats.outputs

    def outputs(model, *rest):
        floats.append({node.name for node in Graph(model).weighted()})
        return honest(model, *rest)

    monkeypatch.setattr(formats, "outputs", outputs)
    by_formats(energy=0.5).apply(onnx_file, context)
    everything, *others = floats
    rounded = [everything - each for each in others]
    assert [len(each) for each in rounded] == [1] * 5
    assert set.union(*rounded) == everything


@pytest.fixture
def products(context, tmp_path):
    """A file of matrix products, in which int4 weights save something."""
    random, nodes, weights = np.random.default_rng(0), [], []
    sizes = [3 * 32 * 32, 64, 64, 4]
    nodes.append(onnx.helper.make_node("Flatten", [*context.preprocess.input_names], ["0"], "flatten"))
    for n, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = random.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(weight, f"weight{n}"))
        last = context.preprocess.output_name if n == 2 else f"{n}.product"
        nodes.append(onnx.helper.make_node("Gemm", [str(n), f"weight{n}"], [last], f"gemm{n}", transB=1))
        if n < 2:
            nodes.append(onnx.helper.make_node("Relu", [last], [str(n + 1)], f"relu{n}"))
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape])
        for name, shape in ((context.preprocess.input_names[0], [3, 32, 32]), (context.preprocess.output_name, [4]))
    ]
    graph = onnx.helper.make_graph(nodes, "products", ports[:1], ports[1:], initializer=weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "products.onnx")
    return tmp_path / "products.onnx"


def test_block_has_int4_weights_when_they_cost_less_than_integers(timer, products, context):
    timer.pair = 0.2
    made, record = by_formats(energy=0.2).apply(products, context)
    found = record.done["formats"]
    assert record.done["int4"] == ["gemm0"]
    assert found["blocks_int4"] == 1
    predicted, measured = (Estimate.from_json(found[name]) for name in ("predicted_share", "measured_share"))
    assert measured.value == pytest.approx(predicted.value, abs=1e-3)
    assert [node.op_type for node in onnx.load(made).graph.node].count("MatMulNBits") == 1
    wanted, got = (
        onnxruntime.InferenceSession(str(path)).run(None, {context.preprocess.input_names[0]: context.samples(16)})[0]
        for path in (products, made)
    )
    assert np.corrcoef(wanted.ravel(), got.ravel())[0, 1] > 0.98


def test_int4_weights_are_declined_with_what_they_cost_when_integers_cost_less(timer, products, context):
    _, record = by_formats(energy=0.5).apply(products, context)
    (why,) = (each.why for each in record.declined if each.what == "int4 weights")
    assert why.startswith("they take ") and why.endswith(" times the energy of int8 or more in each block")
    assert float(why.split()[2]) > 1
    assert record.done["formats"]["blocks_int4"] == 0


def test_int4_weights_are_declined_when_no_block_consists_of_matrix_products(timer, onnx_file, context):
    _, record = by_formats(energy=0.5, keep_last=True).apply(onnx_file, context)
    assert ("int4 weights", ONLY_PRODUCTS) in [(each.what, each.why) for each in record.declined]


def test_only_one_target_is_accepted():
    with pytest.raises(ValueError, match="energy and latency are both given; choose one target"):
        QuantizeStatic(energy=0.5, latency=0.5)
