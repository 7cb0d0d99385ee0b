"""Blocks that follow one another, and float blocks in a row, which need no conversions between them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from certify.core.estimate import Estimate
from compress.costs import table_maker as table_maker_module
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import CONVERSIONS, CostTable
from compress.costs.groups import find_narrowable
from compress.costs.items import FLOATS, FULL, INT4, Item, Variant, find_items
from compress.costs.neighbours import in_order, with_neighbours
from compress.costs.stacks import ROW_LABEL
from compress.costs.table_maker import table_maker
from compress.costs.timing import Conditions, Cost
from compress.passes.quantize_static import QuantizeStatic
from compress.passes.structured_prune import StructuredPrune

DROPPED = Variant(dropped=True)
VARIANTS = FULL, FLOATS, DROPPED
SMALL, LARGE = (1, 4, 8, 8), (1, 4, 4, 4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x):
        return F.relu(x + self.conv(x))


class Branches(nn.Module):
    """The second block's output is read by the third and by a sum behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.blocks[0](F.max_pool2d(F.relu(self.norm(self.stem(x))), 2))
        x = self.blocks[1](x)
        return self.head((self.blocks[2](x) + x).mean((2, 3)))


class Untraceable(Branches):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) < 1e9 else x


def followed(model, *, size=8):
    sample = torch.rand(1, 3, size, size)
    items = find_items(model.eval(), sample, (), most=0.9, formats=(FLOATS,))
    return {item.path: item.follows for item in with_neighbours(model, sample, items)}


def test_block_follows_the_one_whose_output_only_it_reads():
    """Behind a batch norm, an activation and a pool too, but not where a value has two readers, or behind a mean."""
    assert followed(Branches()) == {
        "stem": None, "blocks.0": "stem", "blocks.1": "blocks.0", "blocks.2": None, "head": None
    }  # fmt: skip


def test_no_block_follows_another_when_the_model_cannot_be_traced():
    assert set(followed(Untraceable()).values()) == {None}


def test_layers_of_a_plain_chain_follow_one_another():
    between = nn.Identity(), nn.Dropout(), nn.ReLU6(), nn.AvgPool2d(2), nn.Softmax(1)
    chain = nn.Sequential(*(part for each in between for part in (nn.Conv2d(3, 3, 3, 1, 1), each)), nn.Conv2d(3, 3, 1))
    assert followed(chain) == {"0": None, "2": "0", "4": "2", "6": "4", "8": "6", "10": None}


def cost(value, half=0.0):
    return Cost(*(Estimate(value, value - half, value + half, unit, 24, "made up") for unit in ("s", "J")))


def item(path, follows, shape=SMALL, signature=None, variants=VARIANTS):
    return Item(path, (), np.zeros(shape), True, variants, signature or path, follows=follows)


def table_of(items, saved, half=0.0):
    """Each block costs 10 in integers and 14 in floats, of which kinds in ``saved`` save so much in a row."""
    values = {"full": 10.0, "full float": 14.0, "dropped": 0.0, "full int4 weights": 12.0}
    costs = {each.signature: {label: cost(value, half) for label, value in values.items()} for each in items}
    for kind, value in saved.items():
        costs[kind][CONVERSIONS] = cost(value, half)
    return CostTable({}, cost(100.0), tuple(items), costs, 0)


def test_items_are_in_the_order_in_which_they_follow_one_another():
    items = [item("c", "b"), item("a", None), item("", None), item("b", "a"), item("d", "elsewhere"), item("", None)]
    assert [items[number].path for number in in_order(items)] == ["a", "b", "c", "", "d", ""]


@pytest.mark.parametrize("quantity", ["latency", "energy"])
@pytest.mark.parametrize(
    ("chosen", "change"),
    [
        ((FLOATS, FULL, FULL), 4),
        ((FLOATS, FLOATS, FULL), 4 + 4 - 3),
        ((FLOATS, FULL, FLOATS), 4 + 4),
        ((FLOATS, DROPPED, FLOATS), 4 - 10 + 4 - 3),
        ((FLOATS, FLOATS, FLOATS), 3 * 4 - 2 * 3),
        ((DROPPED, FLOATS, FLOATS), -10 + 4 + 4 - 3),
    ],
)
def test_float_blocks_in_a_row_are_charged_for_the_conversions_at_its_ends(chosen, change, quantity):
    """The blocks run as 1, 2, 0: the table need not have them in order."""
    items = [item("b", "a"), item("last", "b"), item("a", None)]
    table = table_of(items, {"a": 3.0})
    first, second, third = chosen
    share = table.predicted([second, third, first], quantity).value
    assert share == pytest.approx((100 + change) / 100)
    corrected = table.corrected([second, third, first], quantity, 1 + 2 * change / 100)
    assert corrected.predicted([second, third, first], quantity).value == pytest.approx(1 + 2 * change / 100)


@pytest.mark.parametrize(
    ("saved", "shape", "less"),
    [
        ({"b": 3.0}, SMALL, 3),
        ({"b": 3.0}, LARGE, 0),
        ({"b": 0.4}, SMALL, 0),
        ({}, SMALL, 0),
        ({"b": 3.0, "a": 2.0}, SMALL, 2),
        ({"b": 3.0, "a": 0.4}, SMALL, 3),
        ({"b": 3.0, "a": 2.0, "c": 1.0}, SMALL, 1),
    ],
)
def test_conversions_are_those_of_the_nearest_block_of_the_same_shape_that_shows_any(saved, shape, less):
    table = table_of([item("b", None), item("c", "a", shape), item("a", None)], saved, half=0.5)
    assert table.predicted([FULL, FLOATS, FLOATS], "latency").value == pytest.approx((100 + 8 - less) / 100)


def test_block_that_follows_one_outside_of_the_table_meets_no_other():
    table = table_of([item("a", None), item("b", "elsewhere")], {"a": 3.0, "b": 3.0})
    assert table.predicted([FLOATS, FLOATS], "latency").value == pytest.approx(1.08)


@pytest.mark.parametrize(("saved", "worth"), [(0.4, False), (1.1, True)])
def test_int4_weights_are_worthwhile_when_they_cost_less_than_integers_in_a_row(saved, worth):
    """Apart, 12 instead of 10; between two blocks in floats, twice the conversions less."""
    variants = (FULL, FLOATS, INT4)
    items = [item("c", "b"), item("b", "a", variants=variants), item("a", None)]
    table = table_of(items, {"b": saved}, half=0.01)
    assert (INT4 in table.worthwhile(items[1], "latency")) is worth


def test_interval_includes_that_of_the_conversions():
    items = [item("a", None, signature="k"), item("b", "a", signature="k"), item("c", "b", signature="k")]
    found = table_of(items, {"k": 3.0}, half=0.5).predicted([FLOATS] * 3, "latency")
    float_and_full, conversions = 3 * 0.5 * 2**0.5, 2 * 0.5
    assert found.high - found.value == pytest.approx(np.hypot(float_and_full, conversions) / 100), "equal errors add up"


@pytest.mark.parametrize("quantity", ["latency", "energy"])
@pytest.mark.parametrize("share", [0.9, 1.0, 1.05, 1.1])
def test_choice_is_the_least_lossy_of_all_within_the_budget(share, quantity):
    """Rounding loses most in the blocks in the middle, so a run of floats is worth more than its blocks apart."""
    items = [item("c", "b"), item("a", None), item("d", "c"), item("b", "a")]
    table, rows = table_of(items, {"a": 3.0}), [VARIANTS] * 4
    losses = [[5.0, 0.0, 9.0], [1.0, 0.0, 2.0], [2.0, 0.0, 3.0], [4.0, 0.0, 8.0]]
    loss = partial(sum_of, rows, losses)
    tried = [each for each in itertools.product(*rows) if table.predicted(each, quantity).value <= share + 1e-9]
    chosen = table.least_lossy(rows, losses, quantity, share)
    assert table.predicted(chosen, quantity).value <= share + 1e-9
    assert loss(chosen) == min(map(loss, tried))


def sum_of(rows, losses, chosen):
    return sum(row[each.index(one)] for each, row, one in zip(rows, losses, chosen, strict=True))


def test_cheapest_choice_counts_what_a_row_saves():
    items = [replace(item(path, follows), variants=(FULL, FLOATS)) for path, follows in (("b", "a"), ("a", None))]
    table = table_of(items, {"a": 9.0})
    assert table.cheapest([(FULL, FLOATS)] * 2, "latency") == [FLOATS, FLOATS], "28 - 9 is less than 20"
    assert table_of(items, {"a": 7.0}).cheapest([(FULL, FLOATS)] * 2, "latency") == [FULL, FULL]


def test_blocks_of_a_file_follow_one_another(timer, onnx_file, context, monkeypatch):
    tables = []
    monkeypatch.setattr(CostTable, "without_gain", lambda self, *given: tables.append(self) or ())
    QuantizeStatic(samples=16, loss_samples=16, energy=0.5).apply(onnx_file, context)
    (items,) = (each.items for each in tables)
    assert [each.follows for each in items] == [None, *(each.path for each in items[:-1])]


def test_no_block_of_a_file_follows_one_that_the_recipe_keeps(timer, onnx_file, context, monkeypatch):
    tables = []
    monkeypatch.setattr(CostTable, "without_gain", lambda self, *given: tables.append(self) or ())
    given = {"samples": 16, "loss_samples": 16, "energy": 0.5}
    QuantizeStatic(**given).apply(onnx_file, context)
    second = tables[0].items[1].path
    QuantizeStatic(**given, keep_nodes=[second]).apply(onnx_file, context)
    items = tables[1].items
    assert [each.follows for each in items] == [None, None, *(each.path for each in items[1:-1])]


def test_row_is_measured_with_the_blocks_apart_when_there_are_many_variants(timer, deep, context, monkeypatch):
    monkeypatch.setattr(table_maker_module, "MOST_AT_ONCE", 2)
    around = replace(context, following=(QuantizeStatic(samples=16),))
    (each,) = find_items(deep, context.sample(1), (), most=0.9, formats=(FLOATS,))[:1]
    wide = replace(each, variants=(FULL, Variant({}, floats=True, bits=4), FLOATS, DROPPED), signature="wide")
    maker = table_maker(Conditions(), None, around, CostCache(fresh=True))
    table = maker.make(deep, [wide], context.preprocess, context.samples(2))
    assert CONVERSIONS in table.costs["wide"]
    assert [{FLOATS.label({}), ROW_LABEL} <= set(batch) for batch in timer.batches] == [True, False, False]


def test_row_is_not_measured_when_values_stay_in_floats(timer, deep, context):
    around = replace(context, following=(QuantizeStatic(samples=16, operators="weights"),))
    items = find_items(deep, context.sample(1), (), most=0.9, formats=(FLOATS,))
    table = table_maker(Conditions(), None, around, CostCache(fresh=True)).make(
        deep, items, context.preprocess, context.samples(2)
    )
    assert not any(CONVERSIONS in costs for costs in table.costs.values())


def test_table_of_formats_knows_conversions_of_blocks_that_keep_their_shape(timer, deep, context):
    around = replace(context, following=(QuantizeStatic(samples=16),))
    found = find_narrowable(StructuredPrune().settings(), deep, around, formats=(FLOATS,))
    table = table_maker(Conditions(), None, around, CostCache(fresh=True)).make(
        found.model, found.items, context.preprocess, context.samples(2)
    )
    known = {each.path: CONVERSIONS in table.costs[each.signature] for each in found.items}
    assert known == {each.path: each.keeps_shape for each in found.items}
    assert sum(known.values()) > 1
    follows = {each.path: each.follows for each in found.items}
    assert follows["blocks.0"] == "stem"
    assert follows["blocks.4"] == "blocks.3"
    plain = find_narrowable(StructuredPrune().settings(), deep, around)
    assert {each.follows for each in plain.items} == {None}
