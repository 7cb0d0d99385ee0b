"""A record of replaced parts can build plain layers, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from certify.core.errors import ModelError
from compress.exchange.replacements import put, replaced


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))


def test_replaced_parts_are_rebuilt():
    changed = net()
    changed[0] = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 4, 3, (2, 1), padding=1))
    changed[2][0] = nn.Identity()
    record = replaced(changed, net())
    assert set(record) == {"0", "2.0"}
    again = net()
    put(again, record)
    again.load_state_dict(changed.state_dict())
    assert repr(again) == repr(changed)
    assert replaced(net(), net()) == {}


def test_other_parts_are_refused():
    changed = net()
    changed[2][0] = nn.LSTM(4, 4)
    with pytest.raises(ModelError, match="'2.0' is a LSTM"):
        replaced(changed, net())


@pytest.mark.parametrize(
    "record",
    [
        {"0": {"layer": "LSTM", "input_size": 3, "hidden_size": 3}},
        {"0": {"layer": "Conv2d", "in_channels": 3}},
        {"0": {"layer": "Linear", "in_features": -1, "out_features": 4}},
        {"0": {"layer": "Linear", "in_features": 1, "out_features": 4, "device": "no"}},
        {"0": "Linear"},
        {"0": {"parts": []}},
        {"0": {"layer": "Sequential", "parts": [{"layer": "os.system"}]}},
        {"9": {"layer": "Identity"}},
        {"a.b": {"layer": "Identity"}},
    ],
)
def test_record_is_refused_when_it_does_not_describe_a_plain_layer(record):
    before = net()
    with pytest.raises(ModelError, match="record"):
        put(before, record)
    assert torch.is_tensor(before[0].weight)
