"""The digest by which the tests keep exported files tells networks apart."""

from __future__ import annotations

import torch

from compress.testing.networks import network
from tests.kept_exports import _digest


def test_digest_is_the_same_when_the_network_is_built_again():
    assert _digest(network("residual"), {"opset": 20}) == _digest(network("residual"), {"opset": 20}) is not None


def test_digest_differs_when_a_weight_an_option_or_an_attribute_does():
    changed, slower = network("residual"), network("residual")
    with torch.no_grad():
        next(changed.parameters()).view(-1)[0] += 1
    slower.extra = 1
    nets = [network("residual"), changed, slower, network("blocks")]
    assert len({_digest(net, option) for net in nets for option in (20, 21)}) == 8


def test_nothing_is_kept_when_a_part_cannot_be_written():
    net = network("residual")
    net.register_forward_hook(lambda *_: None)
    assert _digest(net) is None
