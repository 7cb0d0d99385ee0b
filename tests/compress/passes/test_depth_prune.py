"""The blocks that contribute least are dropped, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from compress.core.model_stats import count_macs, state_digest
from compress.exchange import checkpoint
from compress.models.built_model import ModelSource
from compress.passes.depth_prune import DepthPrune
from compress.pruning.depth import find_blocks


def test_least_important_blocks_are_dropped_in_order(deep, context):
    context = replace(context, teacher=deep)
    shallow, record = DepthPrune(macs=0.5).apply(deep, context)
    sample = context.sample(1)
    assert count_macs(shallow, sample) <= 0.5 * count_macs(deep, sample)
    assert list(record.done["dropped"]) == ["blocks.1", "blocks.2", "blocks.3"]
    assert [d.what for d in record.declined] == ["blocks.0", "blocks.4"]
    assert all(isinstance(shallow.blocks[i], nn.Identity) for i in (1, 2, 3))
    with torch.no_grad():
        assert torch.allclose(shallow(sample), deep(sample), atol=0.05)


def test_dropping_matches_the_record(deep, context):
    """The divergence in the record is that of the shallow model from the whole one."""
    context = replace(context, teacher=deep)
    shallow, record = DepthPrune(macs=0.85, samples=32).apply(deep, context)
    assert len(record.done["dropped"]) == 1
    images = context.sample(32)
    with torch.no_grad():
        a, b = (m(images).log_softmax(1) for m in (shallow, deep))
    wanted = nn.functional.kl_div(a, b, reduction="batchmean", log_target=True)
    assert list(record.done["dropped"].values())[0] == pytest.approx(float(wanted), rel=1e-3, abs=1e-8)


def test_model_is_unchanged_when_it_has_too_few_blocks(deep, context):
    same, record = DepthPrune(macs=0.05).apply(deep, replace(context, teacher=deep))
    assert not record.changed
    assert "by dropping all of its 5 blocks" in record.declined[0].why
    assert state_digest(same) == state_digest(deep)


def test_model_is_declined_when_it_is_small_enough(deep, context):
    once, _ = DepthPrune(macs=0.5).apply(deep, replace(context, teacher=deep))
    _, record = DepthPrune(macs=0.6).apply(once, replace(context, teacher=deep))
    assert "already" in record.declined[0].why


@pytest.mark.parametrize(
    ("name", "kind", "least"), [("resnet18", "BasicBlock", 5), ("vit_b_32", "EncoderBlock", 12), ("vgg11", "", 0)]
)
def test_blocks_are_the_parts_that_preserve_the_shape(name, kind, least):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(num_classes=4).eval()
        blocks = find_blocks(model, torch.zeros(1, 3, 224, 224))
    assert len(blocks) == least
    assert {type(model.get_submodule(path)).__name__ for path in blocks} == ({kind} if kind else set())


def test_checkpoint_restores_a_shallow_model(context, tmp_path):
    source = ModelSource("torchvision.models:resnet18", {}, 4)
    model = source.instantiate().eval()
    shallow, _ = DepthPrune(macs=0.9, samples=8).apply(model, replace(context, teacher=model))
    checkpoint.save(tmp_path / "m.safetensors", shallow, source)
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(context.sample(2)), shallow(context.sample(2)))
