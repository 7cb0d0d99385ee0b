"""The whole way on tiny networks, with made-up costs: table, losses, knapsack, the narrowed model and its record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from certify.core.estimate import Estimate
from compress.core.model_stats import state_digest
from compress.costs import narrowing, shipped_form, table_maker
from compress.costs.cost_cache import CostCache
from compress.costs.groups import COUPLED, find_narrowable
from compress.costs.items import FULL, find_items
from compress.costs.timing import Conditions, Cost
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.program import Program
from compress.testing.networks import network

pytestmark = pytest.mark.usefixtures("unexported")


def scaled_by(factor: float, cost: Cost) -> Cost:
    """The cost on a machine that is slower by a factor."""

    def of(each: Estimate) -> Estimate:
        return replace(each, value=factor * each.value, low=factor * each.low, high=factor * each.high)

    windows = (tuple(factor * each for each in windows) for windows in (cost.windows_s, cost.windows_j))
    return Cost(of(cost.duration_s), of(cost.energy_j), *windows)


def narrow_by(**target: Any) -> StructuredPrune:
    """The pass without refitting, which takes a second for each block."""
    return StructuredPrune(reconstruct=False, loss_samples=16, **target)


@pytest.fixture
def deep_context(context, deep):
    return replace(context, teacher=deep)


@pytest.mark.parametrize("quantity", ["energy", "latency"])
def test_model_meets_the_requested_cost_when_the_table_is_right(timer, deep, deep_context, quantity):
    before = state_digest(deep)
    pruned, record = narrow_by(**{quantity: 0.8}).apply(deep, deep_context)
    assert state_digest(deep) == before
    done = record.done
    predicted, measured = (Estimate.from_json(done[name]) for name in ("predicted_share", "measured_share"))
    assert predicted.value <= 0.8 + 1e-9
    assert predicted.n == 24, "of the windows, although the share of the original is exactly 1"
    assert measured.value == pytest.approx(predicted.value, abs=1e-3)
    assert done["conditions"]["precision"] == "float"
    assert done["dropped"]
    assert pruned(deep_context.sample(2)).shape == (2, 4)
    assert Estimate.from_json(done["predicted"][f"{quantity}_ratio"]).value == pytest.approx(measured.value, abs=1e-3)
    assert done["predicted"]["threads"] == done["conditions"]["threads"] == 1


def test_least_important_blocks_are_removed_first_when_all_cost_the_same(timer, deep, deep_context):
    _, record = narrow_by(energy=0.85).apply(deep, deep_context)
    assert set(record.done["dropped"]) <= {"blocks.1", "blocks.2", "blocks.3"}


def test_second_table_is_read_from_the_cache_when_nothing_changed(timer, deep, deep_context):
    _, first = narrow_by(energy=0.9).apply(deep, deep_context)
    measured = len(timer.batches)
    pruned, second = narrow_by(energy=0.9).apply(deep, deep_context)
    assert (first.done["blocks_measured"], second.done["blocks_measured"]) == (1, 0)
    beside, compared = timer.batches[measured:]
    assert (len(beside), beside[0], sorted(compared)) == (2, "whole", ["baseline", "pruned", "whole"])
    assert second.done["dropped"] == first.done["dropped"]


@pytest.mark.parametrize("slow", ["blocks", "whole model"])
@pytest.mark.parametrize("quantity", ["energy", "latency"])
def test_prediction_holds_when_the_machine_was_slower_while_blocks_were_measured(
    timer, monkeypatch, deep, deep_context, slow, quantity
):
    honest = type(timer).__call__

    def drifting(self, files):
        factor = 1.5 if ("whole" in files) == (slow == "whole model") else 1.0
        return {name: scaled_by(factor, cost) for name, cost in honest(self, files).items()}

    monkeypatch.setattr(type(timer), "__call__", drifting)
    _, record = narrow_by(**{quantity: 0.8}).apply(deep, deep_context)
    predicted, measured = (Estimate.from_json(record.done[name]) for name in ("predicted_share", "measured_share"))
    assert measured.value == pytest.approx(predicted.value, abs=1e-3)


@pytest.mark.parametrize("disturbed", [1, 2])
def test_block_is_measured_once_more_when_its_windows_were_disturbed(timer, monkeypatch, context, disturbed):
    found = find_narrowable(StructuredPrune().settings(), network("attention"), context)
    maker = table_maker.table_maker(Conditions(), "float", context, CostCache(fresh=True))
    item, honest = found.items[0], type(timer).__call__

    def seconds():
        del timer.batches[:]
        table = maker.make(found.model, found.items, context.preprocess, context.samples(2))
        return [cost.duration_s.value for cost in table.costs[item.signature].values()]

    def disturbing(self, files):
        costs, full = honest(self, files), item.label(FULL)
        if full in costs and len(self.batches) <= disturbed:
            slow = 1.05 * costs[full].duration_s.value
            costs[full] = replace(costs[full], duration_s=Estimate(slow, slow / 1.5, slow, "s", 24, "made up"))
        return costs

    steady = seconds()
    assert len(timer.batches) == 2
    monkeypatch.setattr(type(timer), "__call__", disturbing)
    assert (seconds() == pytest.approx(steady)) == (disturbed == 1)
    assert len(timer.batches) == 3, "twice the block, then the whole model beside it"


@pytest.mark.parametrize(("factor", "again"), [(1.6, True), (0.6, True), (1.05, False), (0.95, False)])
def test_block_is_measured_again_when_its_stack_has_another_speed_now(timer, monkeypatch, context, factor, again):
    """The full block alone was slower, or faster, while it was measured with its variants."""
    found = find_narrowable(StructuredPrune().settings(), network("attention"), context)
    maker = table_maker.table_maker(Conditions(), "float", context, CostCache(fresh=True))
    full = found.items[0].label(FULL)

    def made():
        del timer.batches[:]
        return maker.make(found.model, found.items, context.preprocess, context.samples(2))

    honest, steady = type(timer).__call__, made()
    assert len(timer.batches) == 2

    def other_at_first(self, files):
        costs = honest(self, files)
        return costs | ({full: scaled_by(factor, costs[full])} if len(self.batches) == 1 else {})

    monkeypatch.setattr(type(timer), "__call__", other_at_first)
    assert (made() == steady) == again
    assert len(timer.batches) == (5 if again else 2), "the block, twice beside the whole, the block, beside the whole"


def test_block_is_not_measured_again_when_one_round_beside_the_whole_was_disturbed(timer, monkeypatch, deep, context):
    items = find_items(deep, context.sample(1), (), most=0.9)[:1]
    maker = table_maker.table_maker(Conditions(), "float", context, CostCache(fresh=True))

    def made():
        del timer.batches[:]
        return maker.make(deep, items, context.preprocess, context.samples(2))

    honest, steady = type(timer).__call__, made()

    def disturbed_once(self, files):
        costs, each = honest(self, files), items[0].signature
        return costs | ({each: scaled_by(1.6, costs[each])} if len(self.batches) == 2 else {})

    monkeypatch.setattr(type(timer), "__call__", disturbed_once)
    assert made() == steady
    assert [batch[0] == "whole" for batch in timer.batches] == [False, True, True]


def test_all_costs_are_scaled_alike_when_the_machine_slows_down_between_rounds(timer, monkeypatch, context):
    monkeypatch.setattr(table_maker, "MOST_AT_ONCE", 1)  # one kind of block in each round
    found = find_narrowable(StructuredPrune().settings(), network("depthwise"), context)
    maker = table_maker.table_maker(Conditions(), "float", context)

    def values():
        table = maker.make(found.model, found.items, context.preprocess, context.samples(2))
        assert len(table.costs) == 2
        costs = (table.whole, *(cost for row in table.costs.values() for cost in row.values()))
        return [each.value for cost in costs for each in (cost.duration_s, cost.energy_j)]

    honest, before = type(timer).__call__, values()

    def slower_and_slower(self, files):
        return {name: scaled_by(len(self.batches), cost) for name, cost in honest(self, files).items()}

    monkeypatch.setattr(type(timer), "__call__", slower_and_slower)
    factors = [after / own for after, own in zip(values(), before, strict=True)]
    assert factors[0] > 2
    assert factors == pytest.approx([factors[0]] * len(factors))


class Chain(nn.Module):
    """Convolutions outside of all blocks, which are narrowed in the whole model."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


def test_whole_model_is_measured_once_at_the_end_when_it_has_no_blocks(timer, monkeypatch, context):
    found = find_narrowable(StructuredPrune().settings(), Chain().eval(), context)
    assert [item.path for item in found.items] == ["", ""]
    maker = table_maker.table_maker(Conditions(), "float", context)

    def made():
        return maker.make(found.model, found.items, context.preprocess, context.samples(2))

    widths, export = [], shipped_form.one_block

    def exporting(module, *given):
        widths.append((module.first.out_channels, module.second.out_channels))
        return export(module, *given)

    monkeypatch.setattr(shipped_form, "one_block", exporting)
    honest, first = type(timer).__call__, made()
    assert widths.count((16, 16)) == 1, "the unchanged model is exported once for both groups"
    assert len(set(widths)) == len(widths) > 2
    assert timer.batches[-1] == ["whole"]
    monkeypatch.setattr(
        type(timer), "__call__", lambda self, files: {k: scaled_by(1.08, v) for k, v in honest(self, files).items()}
    )
    chosen = [item.variants[-1] for item in found.items]
    assert made().measured == 0
    for quantity in ("energy", "latency"):
        assert made().predicted(chosen, quantity).value == pytest.approx(first.predicted(chosen, quantity).value)


def test_variants_measured_in_two_parts_are_compared_at_the_speed_of_the_first(timer, monkeypatch, context):
    found = find_narrowable(StructuredPrune().settings(), network("attention"), context)
    maker = table_maker.table_maker(Conditions(), "float", context, CostCache(fresh=True))

    def seconds():
        table = maker.make(found.model, found.items, context.preprocess, context.samples(2))
        return {label: cost.duration_s.value for label, cost in table.costs[found.items[0].signature].items()}

    honest, steady = type(timer).__call__, seconds()
    monkeypatch.setattr(table_maker, "MOST_AT_ONCE", 3)  # of seven variants

    def slower_and_slower(self, files):
        factor = 1 + len(self.batches)
        return {name: scaled_by(factor, cost) for name, cost in honest(self, files).items()}

    monkeypatch.setattr(type(timer), "__call__", slower_and_slower)
    slow = seconds()
    ratios = [slow[label] / value for label, value in steady.items()]
    assert ratios[0] > 2
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_losses_are_measured_once_when_only_the_target_differs(timer, monkeypatch, deep, deep_context):
    honest, measured = narrowing.measured_losses, []

    def counted(*arguments):
        measured.append(arguments)
        return honest(*arguments)

    monkeypatch.setattr(narrowing, "measured_losses", counted)
    first, second = (narrow_by(energy=share).apply(deep, deep_context)[1] for share in (0.92, 0.72))
    assert len(first.done["dropped"]) < len(second.done["dropped"])
    assert len(measured) == 1
    with torch.no_grad():
        next(deep.parameters()).mul_(1.5)
    narrow_by(energy=0.92).apply(deep, deep_context)
    narrow_by(energy=0.92).apply(deep, replace(deep_context, seed=1))
    assert len(measured) == 2, "without a refit no sample is drawn"
    StructuredPrune(energy=0.92, loss_samples=17, reconstruct=False).apply(deep, deep_context)
    StructuredPrune(energy=0.92, loss_samples=17, reconstruct=True).apply(deep, deep_context)
    assert len(measured) == 4


def test_each_model_is_exported_once_when_the_first_narrowed_one_misses_the_target(
    timer, monkeypatch, deep, deep_context
):
    honest, exported = shipped_form.whole_model, []

    def counted(model, *rest):
        exported.append(model)
        return honest(model, *rest)

    plain = type(timer).weights

    def weights(self, file):
        return plain(self, file) + 300 * file.path.name.startswith("pruned")

    monkeypatch.setattr(shipped_form, "whole_model", counted)
    monkeypatch.setattr(type(timer), "weights", weights)
    assert narrow_by(energy=0.9).apply(deep, deep_context)[1].changed
    # The model of the table, the original, and two narrowed ones.
    assert sum("pruned" in batch for batch in timer.batches) == 2
    assert len(exported) == 4


@pytest.fixture
def pruned_cost(timer, monkeypatch):
    """Change the costs of narrowed models, by a function of the number of the try and the joules; returns its list."""
    changes, honest = [], type(timer).__call__

    def changed(self, files):
        found = honest(self, files)
        if changes and "pruned" in found:
            number = sum("pruned" in batch for batch in self.batches)
            share = found["pruned"].energy_j.value / found["whole"].energy_j.value
            found["pruned"] = scaled_by(changes[0](number, share) / share, found["pruned"])
        return found

    monkeypatch.setattr(type(timer), "__call__", changed)
    return changes


def test_less_is_removed_when_the_narrowed_model_saves_more_than_predicted(timer, pruned_cost, deep, deep_context):
    _, alone = narrow_by(energy=0.8).apply(deep, deep_context)
    pruned_cost.append(lambda number, share: 1 - 1.9 * (1 - share))  # blocks save more in the model than alone
    pruned, record = narrow_by(energy=0.8).apply(deep, deep_context)
    assert len(record.done["dropped"]) < len(alone.done["dropped"])
    assert record.done["divergence"] < alone.done["divergence"]
    predicted, measured = (record.done[name]["value"] for name in ("predicted_share", "measured_share"))
    assert measured <= 0.8 * 1.02
    assert predicted == pytest.approx(measured, rel=0.05)
    assert len(pruned.blocks) == 5


def test_more_is_removed_when_one_correction_is_too_small_to_change_the_choice(pruned_cost, deep, deep_context):
    pruned_cost.append(lambda number, share: 1 - 0.2 * (1 - share))
    _, record = narrow_by(energy=0.95).apply(deep, deep_context)
    assert len(record.done["dropped"]) == 2
    assert record.done["measured_share"]["value"] <= 0.95 * 1.02


def test_shares_refer_to_the_original_when_an_earlier_pass_changed_the_model(timer, deep, deep_context):
    narrowed, first = narrow_by(energy=0.8).apply(deep, deep_context)
    _, second = narrow_by(energy=0.6).apply(narrowed, replace(deep_context, earlier=(first.done,)))
    shares = [
        record.done[name]["value"] for record in (first, second) for name in ("predicted_share", "measured_share")
    ]
    assert shares[:2] == pytest.approx([shares[0]] * 2, abs=1e-3)
    assert shares[2:] == pytest.approx([shares[2]] * 2, abs=1e-3)
    assert shares[2] < 0.6
    assert second.done["predicted"]["energy_ratio"]["value"] == pytest.approx(shares[2], abs=1e-3)


def test_first_model_is_kept_when_a_less_narrow_one_misses_the_target(pruned_cost, deep, deep_context):
    _, alone = narrow_by(energy=0.8).apply(deep, deep_context)

    def fluke(number, share):
        return share - 0.2 if number == 2 else share + 0.3  # the first model of the second call is the second one

    pruned_cost.append(fluke)
    _, record = narrow_by(energy=0.8).apply(deep, deep_context)
    assert record.changed
    assert record.done["dropped"] == alone.done["dropped"]
    assert record.done["measured_share"]["value"] == pytest.approx(alone.done["measured_share"]["value"] - 0.2)


def test_model_is_declined_when_the_budget_is_out_of_reach(timer, deep, deep_context):
    pruned, record = narrow_by(energy=0.05).apply(deep, deep_context)
    assert not record.changed
    assert state_digest(pruned) == state_digest(deep)
    why = record.declined[0].why
    assert why.startswith("0.05 of the energy cannot be reached: with the cheapest blocks, 0.")
    assert " remains" in why


def test_model_is_declined_when_no_narrower_block_is_cheaper(timer, monkeypatch, context):
    monkeypatch.setattr(type(timer), "weights", lambda self, file: 1000)
    _, record = narrow_by(latency=0.9).apply(network("depthwise"), context)
    assert record.declined[0].why == "no narrower block takes less time in float on this machine"


def test_layers_are_declined_when_an_addition_couples_their_widths(timer, model, context):
    """Every other unit of all of them at once could be removed, but not those of one layer alone."""
    found = find_narrowable(StructuredPrune().settings(), model, context)
    assert found.items == ()
    assert {each.why for each in found.declined if each.what in ("stem.0", "first.0", "down.0")} == {COUPLED}
    _, record = narrow_by(latency=0.9).apply(model, context)
    assert record.declined[0].why.startswith("it has no block whose time can be lowered")


def test_pruned_model_is_declined_when_it_costs_more_than_the_original(timer, monkeypatch, deep, deep_context):
    honest = type(timer).weights

    def weights(self, file):
        return honest(self, file) + (6_000 if file.path.name.startswith("pruned") else 0)

    monkeypatch.setattr(type(timer), "weights", weights)
    same, record = narrow_by(energy=0.9).apply(deep, deep_context)
    assert not record.changed
    assert "measured " in record.declined[0].why
    assert state_digest(same) == state_digest(deep)


def test_energy_is_declined_when_no_meter_measures_joules(timer, monkeypatch, deep, deep_context):
    plain = type(timer).__call__

    def without(self, files):
        return {name: replace(cost, energy_j=None) for name, cost in plain(self, files).items()}

    monkeypatch.setattr(type(timer), "__call__", without)
    _, record = narrow_by(energy=0.9).apply(deep, deep_context)
    assert "ask for latency" in record.declined[0].why
    assert narrow_by(latency=0.9).apply(deep, deep_context)[1].changed


def test_layer_is_not_pruned_when_it_is_to_be_kept(timer, deep, deep_context):
    _, record = narrow_by(energy=0.85, keep_layers=("blocks.1.conv", "blocks.2.conv")).apply(deep, deep_context)
    assert "blocks.3" in record.done["dropped"]
    assert not {"blocks.1", "blocks.2"} & set(record.done["dropped"])


def test_narrowed_model_is_refitted_when_no_training_follows(timer, deep, deep_context, monkeypatch):
    listed, programs = Program.of, []
    monkeypatch.setattr(Program, "of", lambda model, sample: programs.append(model) or listed(model, sample))
    refitted = StructuredPrune(energy=0.85, loss_samples=16, refit_samples=32)
    _, record = refitted.apply(deep, replace(deep_context, training_follows=False))
    found = record.done["reconstruction"]
    assert found["output_error_after"] < found["output_error_before"]
    originals = [model for model in programs if state_digest(model) == state_digest(deep)]
    assert len(originals) == 2, "once for the losses of all variants, and once for the chosen one"
    _, record = refitted.apply(deep, replace(deep_context, training_follows=True))
    assert "reconstruction" not in record.done
