"""The digest by which the tests keep exported files tells networks apart."""

from __future__ import annotations

import torch

from compress.pruning.program import Program
from compress.testing.networks import network
from tests.kept_exports import _digest, _Shapes


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


def test_program_is_kept_by_shapes_and_computes_with_the_weights_of_the_network_it_is_of():
    sample, nets = torch.randn(2, 3, 12, 12), [network("residual"), network("residual")]
    with torch.no_grad():
        next(nets[1].parameters()).view(-1)[0] += 1
    assert len({_digest(net, sample, writer=_Shapes) for net in nets}) == 1
    assert _digest(network("blocks"), sample, writer=_Shapes) != _digest(nets[0], sample, writer=_Shapes)
    programs = [Program.of(net.eval(), sample) for net in nets]
    assert not set(programs[0].nodes) & set(programs[1].nodes)
    for net, program in zip(nets, programs, strict=True):
        values = {program.sample: sample}
        program.evaluate(program.nodes, values)
        output = next(node for node in program.nodes if node.op == "output").args[0][0]
        assert torch.allclose(values[output], net(sample), atol=1e-5)
