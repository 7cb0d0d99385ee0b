"""Losses are remembered for exactly what they were measured on."""

from __future__ import annotations

import torch
from torch import nn

from compress.costs import known_losses
from compress.costs.items import FULL, Variant
from compress.costs.known_losses import KEPT, key_of, remembered

ROWS = [[FULL, Variant({"0": 2})]]


def model(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with torch.no_grad():
        made[0].weight.mul_(scale)
    return made


def test_key_differs_when_anything_differs_that_losses_depend_on():
    images = torch.arange(8.0).reshape(2, 4)
    keys = [
        key_of(model(), ["settings"], [images]),
        key_of(model(2.0), ["settings"], [images]),
        key_of(nn.Sequential(*model()[:1], nn.GELU()), ["settings"], [images]),
        key_of(model(), ["others"], [images]),
        key_of(model(), ["settings"], [images + 1]),
        key_of(model(), ["settings"], [images.reshape(4, 2)]),
        key_of(model(), ["settings"], [images, images]),
        key_of(model(), ["settings"], [images.bfloat16()]),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(model(), ["settings"], [images.clone()]) == keys[0]


def test_losses_are_measured_once_and_handed_out_as_copies():
    measured = []

    def measure(missing):
        measured.append(missing)
        return [[0.0, 0.5]]

    remembered("key", ROWS, measure)[0][1] = 9.0
    assert remembered("key", ROWS, measure) == [[0.0, 0.5]]
    assert measured == [ROWS]


def test_only_variants_that_are_new_are_measured():
    losses = {2: 0.5, 3: 0.2, 1: 0.9}
    measured = []

    def measure(missing):
        measured.append(missing)
        return [[losses[next(iter(each.widths.values()), 3)] for each in row] for row in missing]

    two, three, one = (Variant({"0": width}) for width in (2, 3, 1))
    assert remembered("key", [[two], [three]], measure) == [[0.5], [0.2]]
    assert remembered("key", [[one, two], [three]], measure) == [[0.9, 0.5], [0.2]]
    assert remembered("key", [[two], [two]], measure) == [[0.5], [0.5]]  # another block's
    assert measured == [[[two], [three]], [[one], []], [[], [two]]]
    assert remembered("another", [[two]], measure) == [[0.5]] and len(measured) == 4


def test_only_the_last_models_are_remembered():
    for number in range(KEPT + 1):
        remembered(str(number), [[FULL]], lambda _: [[0.0]])
    assert list(known_losses._known) == [str(number) for number in range(1, KEPT + 1)]
