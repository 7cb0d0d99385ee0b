"""Variants that are run from their block on lose what they lose when the whole model is changed, refitted and run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.core.model_stats import state_digest
from compress.core.targets import TARGETS
from compress.costs.groups import find_narrowable
from compress.costs.items import FLOATS, FULL, INT4
from compress.costs.losses import Narrower, measured_losses
from compress.costs.rounding import Rounding
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.program import Program
from compress.pruning.value_store import ArrayShelf

TRIED = {"8/8", "4/8", "4/4", "4/4 float", "16", "8", "8 float", "dropped", "full", "full float", "full int4 weights"}
"""Labels of the variants that are tried: a trace of a whole model takes half a second."""


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut, with activations in place."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(inner), nn.BatchNorm2d(inner), nn.BatchNorm2d(width)])
        self.second = nn.Conv2d(inner, inner, 3, 1, 1, bias=False)
        self.third = nn.Conv2d(inner, width, 1, bias=False)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.act(self.norms[0](self.first(x)))
        out = self.act(self.norms[1](self.second(out)))
        return self.act(self.norms[2](self.third(out)) + x)


class Mixer(nn.Module):
    """A block that overwrites its own input, with a shortcut outside of what its layers see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x.mul_(0.9)).movedim(1, -1)
        return (x + self.mlp(x)).movedim(-1, 1)


class Network(nn.Module):
    """Both kinds of blocks in a sequence, between layers that are in none."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.blocks = nn.Sequential(Bottleneck(width, 8), Mixer(width))
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


class Outer(nn.Module):
    """Blocks whose shortcuts are added by the model's own code."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width)) for _ in range(2)
        )
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).movedim(1, -1)
        for part in self.parts:
            x = x + part(x)
        logits: torch.Tensor = self.head(x.mean(1))
        return logits


@pytest.fixture
def network(context) -> nn.Module:
    torch.manual_seed(0)
    made = Network().train()
    with torch.no_grad():
        for _ in range(3):
            made(context.sample(32))
        logits = made.eval()(context.sample(50))
        # So that differences between samples, and between variants, show in the divergence.
        made.head.bias.sub_(logits.mean(0))
        for each in (made.head.weight, made.head.bias):
            each.div_(logits.std(0).mean())
    return made


def measured(network, context, *, refit=True, rounded=True, count=50):
    """Losses of some variants of all blocks, by path and label."""
    settings = StructuredPrune(energy=0.8).settings(reconstruct=refit)
    found = find_narrowable(settings, network, context, formats=(FLOATS, INT4) if rounded else ())
    rounding = Rounding(TARGETS["cpu-vnni"], True, context.sample(20)) if rounded else None
    narrower = Narrower(found.items, found.scores, context if refit else None, rounding)
    rows = [[each for each in item.variants if item.label(each) in TRIED] for item in found.items]
    unchanged = replace(FULL, floats=rounded)
    losses = measured_losses(found.model, rows, context.sample(count), narrower, context.progress, unchanged)
    return {
        f"{item.path} {item.label(variant)}": loss
        for item, variants, row in zip(found.items, rows, losses, strict=True)
        for variant, loss in zip(variants, row, strict=True)
    }


def whole_way(monkeypatch, *arguments, **options):
    """The same with every changed model made, refitted and run as a whole."""
    with monkeypatch.context() as patched:
        patched.setattr(Program, "region", lambda *_: None)
        return measured(*arguments, **options)


@pytest.mark.parametrize("full", [True, False], ids=["refitted and rounded", "as cut in floats"])
def test_losses_are_those_of_whole_models_when_run_from_the_block_on(monkeypatch, network, context, full):
    before, listed, traced = state_digest(network), Program.of, []
    expected = whole_way(monkeypatch, network, context, refit=full, rounded=full)
    monkeypatch.setattr(Narrower, "__call__", lambda *_: pytest.fail("a whole model was changed"))
    monkeypatch.setattr(Program, "of", lambda model, sample: traced.append(type(model)) or listed(model, sample))
    found = measured(network, context, refit=full, rounded=full)
    assert state_digest(network) == before
    assert {label.split(" ", 1)[1] for label in found} == (
        TRIED if full else {"8/8", "4/8", "4/4", "16", "8", "dropped"}
    )
    assert max(found.values()) > 1e-2
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    # Which blocks follow one another matters where formats are free.
    assert traced.count(Network) == 1 + full, "only blocks are traced for their widths"


def test_losses_are_the_same_when_values_wait_in_files(monkeypatch, network, context):
    expected = measured(network, context, refit=False)
    monkeypatch.setattr(ArrayShelf.__init__, "__defaults__", (0,))
    assert measured(network, context, refit=False) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_block_is_refitted_in_the_whole_model_when_its_shortcut_is_outside_of_it(monkeypatch, context):
    torch.manual_seed(0)
    network = Outer().eval()
    expected = whole_way(monkeypatch, network, context)
    whole, honest = [], Narrower.__call__
    monkeypatch.setattr(Narrower, "__call__", lambda self, *rest: whole.append(rest[1]) or honest(self, *rest))
    assert measured(network, context) == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert max(expected.values()) > 1e-6
    assert {bool(variant.widths) for variants in whole for variant in variants.values()} == {True}
