"""Widths and formats of all blocks are chosen by one knapsack, and the file keeps the choice."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from certify.core.estimate import Estimate
from compress.core.targets import TARGETS
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import CostTable
from compress.costs.items import FLOATS, FULL, INT4, Item, Variant, find_items
from compress.costs.knapsack import OverBudget
from compress.costs.losses import Narrower, measured_losses
from compress.costs.rounding import Rounding, int4_weights
from compress.costs.shipped_form import Shipping, whole_model
from compress.costs.stacks import BETWEEN_LABEL
from compress.costs.table_maker import table_maker
from compress.costs.timing import Conditions, Cost
from compress.exchange.onnx_export import export
from compress.onnx_graph.graph import Graph
from compress.passes.qat import Qat
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.space_to_depth import SpaceToDepth
from compress.passes.structured_prune import StructuredPrune
from compress.quantization.post_training.quantizer import Quantizer

VNNI = TARGETS["cpu-vnni"]
WIDTHS = (4, 3, 1)
VARIANTS = (
    *(Variant({} if width == 4 else {"g": width}, floats=floats) for floats in (False, True) for width in WIDTHS),
    Variant(dropped=True),
)
GROUP = SimpleNamespace(name="g", units=4)


def exactly(seconds: float) -> Cost:
    return Cost(Estimate.exact(float(seconds), "s", "made up"), None)


def table_of(costs: list[list[int]]) -> CostTable:
    """A table with these costs of the variants of each block, in the order of ``VARIANTS``."""
    items = [Item(str(n), (GROUP,), np.zeros((1, 4)), True, VARIANTS, str(n)) for n in range(len(costs))]
    by_label = {
        item.signature: {item.label(each): exactly(cost) for each, cost in zip(VARIANTS, row, strict=True)}
        for item, row in zip(items, costs, strict=True)
    }
    return CostTable({}, exactly(sum(row[0] for row in costs) + 10), tuple(items), by_label, 0)


def loss_of(variant: Variant, narrow: int, rounded: int) -> float:
    """A loss that falls with the width and with the precision."""
    if variant.dropped:
        return float(4 * narrow + rounded)
    return float((4 - variant.widths.get("g", 4)) * narrow + (0 if variant.floats else rounded))


blocks = st.tuples(
    st.lists(st.integers(0, 30), min_size=len(VARIANTS), max_size=len(VARIANTS)), st.integers(0, 9), st.integers(0, 9)
)


@given(st.lists(blocks, min_size=1, max_size=3), st.integers(20, 150))
@settings(max_examples=150, deadline=None)
def test_choice_matches_exhaustive_search_over_all_widths_and_formats(problem, percent):
    """Variants that the table leaves out as not worthwhile are tried too."""
    table = table_of([costs for costs, _, _ in problem])
    budget = percent / 100 * table.whole.duration_s.value
    rows = [[(each, loss_of(each, *levels)) for each in VARIANTS] for _, *levels in problem]
    tried = []
    for choice in itertools.product(*rows):
        changes = [table.change(item, each, "latency") for item, (each, _) in zip(table.items, choice, strict=True)]
        if table.whole.duration_s.value + sum(changes) <= budget + 1e-9:
            tried.append(sum(loss for _, loss in choice))
    candidates = [table.worthwhile(item, "latency") for item in table.items]
    losses = [[loss_of(each, *levels) for each in row] for row, (_, *levels) in zip(candidates, problem, strict=True)]
    if not tried:
        with pytest.raises(OverBudget) as raised:
            table.least_lossy(candidates, losses, "latency", percent / 100)
        assert raised.value.least > percent / 100
        return
    chosen = table.least_lossy(candidates, losses, "latency", percent / 100)
    lost = sum(loss_of(each, *levels) for each, (_, *levels) in zip(chosen, problem, strict=True))
    assert lost == min(tried)
    assert table.predicted(chosen, "latency").value <= percent / 100 + 1e-9


def test_float_block_is_worthwhile_when_it_costs_more_than_integers():
    table = table_of([[10, 8, 6, 20, 15, 9, 0]])
    (item,) = table.items
    assert [item.label(each) for each in table.worthwhile(item, "latency")] == [
        "4", "3", "1", "4 float", "3 float", "1 float", "dropped"
    ]  # fmt: skip


def test_integers_are_not_worthwhile_when_the_same_block_in_floats_costs_less():
    table = table_of([[10, 8, 6, 7, 15, 5, 0]])
    (item,) = table.items
    assert [item.label(each) for each in table.worthwhile(item, "latency")] == ["4", "4 float", "1 float", "dropped"]


@pytest.mark.parametrize(
    ("few", "kept"),
    [((4, 4, 5), True), ((4, 4, 9.5), False), ((9.5, 9, 10), False), ((11, 11, 11), False)],
    ids=["cheaper", "overlapping", "hardly cheaper", "more expensive"],
)
def test_int4_weights_are_worthwhile_when_they_are_shown_to_cost_less_than_integers(few, kept):
    variants = (FULL, FLOATS, INT4)
    item = Item("a", (), np.zeros((1, 4)), True, variants, "a")
    costs = [Cost(Estimate(value, low, high, "s", 9, "made up"), None) for value, low, high in
             ((10, 9, 11), (20, 19, 21), few)]  # fmt: skip
    by_label = {item.label(each): cost for each, cost in zip(variants, costs, strict=True)}
    table = CostTable({}, exactly(40), (item,), {"a": by_label}, 0)
    candidates = [table.worthwhile(item, "latency")]
    assert (INT4 in candidates[0]) is kept
    why = [each.why for each in table.without_gain(candidates, "latency")]
    assert why == ([] if kept else [f"they take {few[0] / 10:.2f} times the time of int8 or more in each block"])


@pytest.mark.parametrize(
    ("following", "precision", "mixed"),
    [
        ((QuantizeStatic(),), None, True),
        ((QuantizeStatic(),), "int8", False),
        ((QuantizeStatic(energy=0.5),), None, False),
        ((QuantizeStatic(),), "float", False),
        ((Qat(),), None, False),
        ((), None, False),
    ],
)
def test_formats_are_chosen_when_a_later_pass_keeps_the_choice(following, precision, mixed):
    assert Shipping.after(following, VNNI, precision).mixed is mixed


def test_layers_outside_of_all_blocks_have_formats_too(deep, context):
    sample = context.sample(1)
    found = find_items(deep, sample, (), most=0.9, formats=(FLOATS, INT4))
    labels = {item.path: [item.label(each) for each in item.variants] for item in found}
    assert labels["blocks.2"] == ["full", "dropped", "full float"]
    assert labels["stem"] == ["full", "full float"]
    assert labels["head"] == ["full", "full float", "full int4 weights"]  # the only matrix product
    assert {item.path for item in find_items(deep, sample, (), most=0.9)} == {f"blocks.{n}" for n in range(5)}


def test_first_and_last_layers_have_integers_on_one_side_only(deep, context):
    sample = context.sample(1)
    found = {item.path: item for item in find_items(deep, sample, (), most=0.9, formats=(FLOATS,))}
    ends = {"stem": (False, True), "head": (True, False)}
    assert {path: item.borders for path, item in found.items()} == dict.fromkeys(found, (True, True)) | ends
    first, second, last = (nn.Conv2d(3, width, 3, 1, 1) for width in (3, 3, 8))
    chain = find_items(nn.Sequential(first, second, last).eval(), sample, (), most=0.9, formats=(FLOATS,))
    assert [item.borders for item in chain] == [(True, True), (True, True), (True, False)]
    assert [item.keeps_shape for item in chain] == [True, True, False]
    assert chain[0].signature == chain[1].signature


def test_rounded_block_loses_and_float_block_does_not_when_only_it_is_changed(deep, context):
    items = find_items(deep, context.sample(1), (), most=0.9, formats=(FLOATS,))
    narrower = Narrower(items, {}, rounding=Rounding(VNNI, True, context.sample(16)))
    rows = [(FULL, Variant(floats=True))] * len(items)
    losses = measured_losses(deep, rows, context.sample(32), narrower, context.progress, Variant(floats=True))
    assert all(floats == 0 for _, floats in losses)
    by_path = {item.path: rounded for item, (rounded, _) in zip(items, losses, strict=True)}
    assert 0 <= by_path["blocks.1"] < by_path["stem"]  # its branch has hardly any effect


def test_nodes_of_a_block_are_named_as_the_exporter_names_them(deep, context, tmp_path):
    path = tmp_path / "deep.onnx"
    export(deep, context.preprocess, path, classes=4)
    graph = Graph(onnx.load(path))
    blocks = ["blocks.3", "head"]
    found = whole_model(deep, context.preprocess, tmp_path, blocks).names(blocks)
    (conv, *_) = (node for node in graph.nodes if "blocks.3.conv.weight" in node.input)
    (gemm,) = (node for node in graph.nodes if node.op_type == "Gemm")
    assert {conv.name, gemm.name} <= set(found)
    assert [node.op_type for node in graph.nodes if node.name in found] == ["Conv", "Add", "Relu", "Gemm"]


def test_convolution_with_a_folded_batch_norm_belongs_to_its_own_module(model, context, tmp_path):
    whole = whole_model(model, context.preprocess, tmp_path, ["stem", "stem.0", "stem.1", "st"])
    graph = Graph(whole.file)
    (conv,) = (node.name for node in graph.nodes if "stem.0.weight" in node.input)
    inside = {path: conv in names for path, names in whole.nodes.items()}
    assert inside == {"stem": True, "stem.0": True, "stem.1": False, "st": False}
    (path,) = tmp_path.glob("whole.onnx")
    record = {"float_blocks": ["stem.0"], "float_nodes": ["the name that it had earlier"]}
    same, record = SpaceToDepth().apply(path, replace(context, earlier=(record,)))
    assert same == path
    assert "it stays in floats" in record.declined[0].why


class PreActivated(nn.Module):
    """A convolution that the exporter folds into the batch norm of the block behind it."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 3), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))

    def forward(self, x):
        return self.block(self.stem(x)).mean((2, 3))


def test_block_does_not_own_the_convolution_before_it_when_its_batch_norm_is_folded(context, tmp_path):
    whole = whole_model(PreActivated().eval(), context.preprocess, tmp_path, ["stem", "block"])
    kinds = {node.name: node.op_type for node in whole.file.graph.node}
    assert [[kinds[name] for name in whole.nodes[path]] for path in ("stem", "block")] == [["Conv"], ["Relu", "Conv"]]


def test_blocks_stay_float_by_their_paths_when_a_layer_before_them_changed(deep, context, tmp_path):
    """Two layers in place of one shift the names of all later nodes, as factors of low rank do."""
    blocks = ["blocks.3", "head"]
    names = whole_model(deep, context.preprocess, tmp_path, blocks).names(blocks)
    width = deep.stem.out_channels
    added = [nn.Conv2d(width, width, 1) for _ in range(3)]
    for conv in added:
        nn.init.dirac_(conv.weight)  # the network stays good enough for the budget, whatever the processor rounds
    deep.stem = nn.Sequential(deep.stem, *(nn.Sequential(conv, nn.ReLU()) for conv in added))
    path = tmp_path / "deep.onnx"
    export(deep.eval(), context.preprocess, path, classes=4)
    assert not set(names) <= {node.name for node in onnx.load(path).graph.node}
    earlier = ({"float_blocks": ["blocks.3", "head", "gone"], "float_nodes": list(names)},)
    quantized, record = QuantizeStatic(samples=16).apply(path, replace(context, earlier=earlier))
    graph = Graph(onnx.load(quantized))
    assert {node.input[1] for node in graph.weighted()} == {"blocks.3.conv.weight", "head.weight"}
    (why,) = (each.why for each in record.declined if each.what == "choice of formats")
    assert why.startswith("1 of 3 parts with a chosen format are no longer in the file, such as 'gone'; ")


def test_file_keeps_the_formats_that_were_chosen_together_with_the_widths(timer, deep, context, tmp_path, monkeypatch):
    """Rounding is made to hurt the last block, so that it stays in floats and others are dropped to pay for it."""
    honest = Rounding.apply

    def hurting(self, model, blocks):
        honest(self, model, blocks)
        if "blocks.4" in blocks:
            model.get_submodule("blocks.4").conv.weight.data.mul_(-1)

    monkeypatch.setattr(Rounding, "apply", hurting)
    timer.integer = 0.5
    quantizing = QuantizeStatic(samples=16)
    around = replace(context, teacher=deep, following=(quantizing,))
    pruned, record = StructuredPrune(reconstruct=False, loss_samples=16, energy=0.99).apply(deep, around)
    done = record.done
    predicted, measured = (Estimate.from_json(done[name]) for name in ("predicted_share", "measured_share"))
    assert "blocks.4" in done["float_blocks"]
    assert done["dropped"]
    between = [batch for batch in timer.batches if BETWEEN_LABEL in batch]
    assert [("full float" in batch, "full" in batch) for batch in between] == [(True, True)] * 2, "a block and the stem"
    assert done["conditions"]["precision"] == "int8"
    assert measured.value == pytest.approx(predicted.value, abs=1e-3)
    path = tmp_path / "pruned.onnx"
    export(pruned, context.preprocess, path, classes=4)
    made, kept = quantizing.apply(path, replace(context, earlier=(done,)))
    graph = Graph(onnx.load(made))
    floats = {node.input[1].removesuffix(".weight").removesuffix(".conv") for node in graph.weighted()}
    assert floats == set(done["float_blocks"])
    assert {each.why for each in kept.declined} == {"the choice of formats keeps it float"}


def test_block_is_measured_once_more_when_its_stack_between_layers_was_disturbed(timer, deep, context, monkeypatch):
    honest = type(timer).__call__

    def disturbing(self, files):
        costs = honest(self, files)
        if BETWEEN_LABEL in costs and len(self.batches) == 1:
            seconds = costs[BETWEEN_LABEL].duration_s
            costs[BETWEEN_LABEL] = replace(costs[BETWEEN_LABEL], duration_s=replace(seconds, high=2 * seconds.value))
        return costs

    monkeypatch.setattr(type(timer), "__call__", disturbing)
    following = replace(context, following=(QuantizeStatic(samples=16),))
    items = find_items(deep, context.sample(1), (), most=0.9, formats=(FLOATS,))[:1]
    maker = table_maker(Conditions(), None, following, CostCache(fresh=True))
    maker.make(deep, items, context.preprocess, context.samples(2))
    first, second, last = timer.batches
    assert BETWEEN_LABEL in first
    assert (second, last) == (first, ["whole", items[0].signature])


def test_file_keeps_int4_weights_that_were_chosen_together_with_the_widths(timer, deep, context, tmp_path, monkeypatch):
    """The only matrix product is made to lose much in integers, and to cost little with int4 weights alone."""
    honest = Rounding.apply

    def hurting(self, model, blocks):
        honest(self, model, blocks)
        if "head" in blocks:
            model.head.weight.data.mul_(-1)

    plain = type(timer).weights

    def weights(self, file):
        tensors = onnx.load(file.path).graph.initializer
        kinds = [each.data_type for each in tensors if tuple(each.dims) in ((4, 8), (8, 4))]
        return plain(self, file) + sum(2_000 if kind == onnx.TensorProto.FLOAT else 1_000 for kind in kinds)

    monkeypatch.setattr(Rounding, "apply", hurting)
    monkeypatch.setattr(type(timer), "weights", weights)
    timer.integer, timer.pair = 0.5, 0.01
    # Outputs of the untrained network differ by less between samples than 4 bits resolve.
    monkeypatch.setattr(Quantizer, "excess", lambda self, candidate: 0.0)
    quantizing = QuantizeStatic(samples=16)
    around = replace(context, teacher=deep, following=(quantizing,))
    pruned, record = StructuredPrune(reconstruct=False, loss_samples=16, energy=0.9).apply(deep, around)
    done = record.done
    assert (done["int4_blocks"], "head" in done["float_blocks"]) == (["head"], False)
    predicted, measured = (Estimate.from_json(done[name]) for name in ("predicted_share", "measured_share"))
    assert measured.value == pytest.approx(predicted.value, abs=0.02)
    path = tmp_path / "pruned.onnx"
    export(pruned, context.preprocess, path, classes=4)
    made, kept = quantizing.apply(path, replace(context, earlier=(done,)))
    (product,) = (node for node in onnx.load(made).graph.node if node.op_type == "MatMulNBits")
    assert kept.done["int4"] == [product.name]
    assert not [node for node in Graph(onnx.load(made)).weighted() if node.op_type == "Gemm"]


def test_int4_rounding_moves_only_the_weights_of_its_blocks(deep):
    before = {name: value.clone() for name, value in deep.state_dict().items()}
    int4_weights(deep, ["head"])
    changed = {name for name, value in deep.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight"}
    rows = zip(deep.head.weight.detach(), before["head.weight"], strict=True)
    for found, wanted in rows:
        step = float(wanted.clamp(min=0).max() - wanted.clamp(max=0).min()) / 15
        assert float((found - wanted).abs().max()) <= step / 2 + 1e-6


@pytest.mark.parametrize("quantity", ["latency", "energy"])
def test_corrected_table_predicts_what_was_measured_and_chooses_by_it(quantity):
    plain = table_of([[10, 8, 6, 20, 15, 9, 0], [10, 8, 6, 20, 15, 9, 0]])
    table = replace(plain, whole=joules(plain.whole), costs={
        item: {label: joules(cost) for label, cost in row.items()} for item, row in plain.costs.items()
    })  # fmt: skip
    dropped, chosen = Variant(dropped=True), [Variant(dropped=True), FULL]
    assert table.predicted(chosen, quantity).value == pytest.approx(2 / 3)
    corrected = table.corrected(chosen, quantity, 0.5)
    assert corrected.predicted(chosen, quantity).value == pytest.approx(0.5)
    assert corrected.corrected(chosen, quantity, 0.6).predicted(chosen, quantity).value == pytest.approx(0.6)
    candidates, losses = [[FULL, dropped]] * 2, [[0.0, 1.0], [0.0, 1.5]]
    assert table.least_lossy(candidates, losses, quantity, 0.5) == [dropped, dropped]
    assert corrected.least_lossy(candidates, losses, quantity, 0.5) == [dropped, FULL]
    with pytest.raises(OverBudget) as raised:
        corrected.least_lossy([[FULL, dropped], [FULL]], [losses[0], [0.0]], quantity, 0.4)
    assert raised.value.least == pytest.approx(0.5)


def test_correction_is_limited_so_that_one_disturbed_measurement_does_not_decide():
    table, chosen = table_of([[10, 8, 6, 20, 15, 9, 0]]), [Variant(dropped=True)]
    assert table.corrected(chosen, "latency", 1.2).factor == 0.5
    assert table.corrected(chosen, "latency", -1.0).factor == 2.0
    assert table.corrected([FULL], "latency", 0.9) == table
    slight = table_of([[1000, 999, 998, 20, 15, 9, 0]])
    assert slight.corrected([Variant({"g": 3})], "latency", 0.9) == slight


def test_correction_widens_the_interval_of_a_prediction_by_its_factor():
    exact = table_of([[10, 8, 6, 20, 15, 9, 0]])
    (item,), narrow = exact.items, Variant({"g": 1})
    doubtful = Cost(Estimate(6.0, 5.0, 7.0, "s", 24, "made up"), None)
    table = replace(exact, costs={item.signature: {**exact.costs[item.signature], item.label(narrow): doubtful}})
    plain, twice = (each.predicted([narrow], "latency") for each in (table, replace(table, factor=2.0)))
    assert (plain.value, plain.low) == pytest.approx((0.8, 0.75))
    assert (twice.value, twice.low) == pytest.approx((0.6, 0.5))


def joules(cost: Cost) -> Cost:
    """The same cost, with as many joules as seconds."""
    return replace(cost, energy_j=replace(cost.duration_s, unit="J"))
