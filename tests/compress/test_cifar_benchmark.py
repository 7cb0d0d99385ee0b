"""The networks and the data of the CIFAR-10 benchmark, without its files."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from certify.core.errors import DataError, UsageError
from compress.core import model_stats
from compress.models import catalog, factories
from compress.passes.structured_prune import StructuredPrune

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = {"resnet20": 269_722, "resnet56": 853_018}
"""From arXiv 1512.03385, table 6: 0.27 and 0.85 million."""
MACS = {"resnet20": 40_551_040, "resnet56": 125_485_696}


@pytest.fixture
def cifar(monkeypatch):
    """The benchmark's module, found as a user's is: from the project's folder."""
    monkeypatch.chdir(ROOT)
    return factories.import_factory("tests.benchmarks.cifar:resnet20").__globals__


@pytest.mark.parametrize("name", PARAMETERS)
def test_factory_gives_the_published_network_when_it_is_named(cifar, name):
    model = catalog.build(f"tests.benchmarks.cifar:{name}", classes=10).model
    blocks = {"resnet20": 3, "resnet56": 9}[name]
    layers = [f"layer{stage}.{i}.{part}" for stage in (1, 2, 3) for i in range(blocks) for part in ("conv", "bn")]
    keys = {"conv1.weight", "linear.weight", "linear.bias"}
    keys |= {f"{layer}{k}.weight" for layer in layers for k in (1, 2)}
    norms = ["bn1", *(f"{layer}{k}" for layer in layers if layer.endswith("bn") for k in (1, 2))]
    keys |= {f"{n}.{v}" for n in norms for v in ("weight", "bias", "running_mean", "running_var")}
    counters = {f"{n}.num_batches_tracked" for n in norms}
    assert set(model.state_dict()) == keys | counters
    assert model_stats.count_parameters(model) == PARAMETERS[name]
    assert model_stats.count_macs(model, torch.zeros(1, 3, 32, 32)) == MACS[name]


def test_shortcut_pads_with_zeros_on_both_sides_when_the_channels_double(cifar):
    block = cifar["Block"](4, 8).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # the two convolutions then add nothing
    maps = torch.rand(1, 4, 6, 6)
    output = block(maps)
    assert torch.equal(output[:, 2:6], maps[:, :, ::2, ::2])
    assert not output[:, :2].any() and not output[:, 6:].any()


def test_twins_are_found_when_the_others_went_through_jpeg(cifar):
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    labels = np.arange(12) % 3
    order = random.permutation(12)
    jpeg = np.stack([cifar["_through_jpeg"](image) for image in smooth[order]])
    assert not np.array_equal(jpeg, smooth[order])
    found = cifar["twins"](smooth[:5], labels[:5], jpeg, labels[order])
    assert order[found].tolist() == [0, 1, 2, 3, 4]


def test_restored_images_are_closer_and_kept_when_a_network_learnt_what_jpeg_removed(cifar, monkeypatch, tmp_path):
    monkeypatch.setenv("LEANMARK_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(cifar, "RESTORER_EPOCHS", 12)
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (256, 8, 8, 3), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    learnt, others = colours[:192], colours[192:]
    jpeg = np.stack([cifar["_through_jpeg"](image) for image in others])
    restored = cifar["restored"](jpeg, learnt)
    assert restored.dtype == np.uint8
    errors = [np.abs(images.astype(float) - others).mean() for images in (jpeg, restored)]
    assert errors[1] < 0.9 * errors[0]
    monkeypatch.setitem(cifar, "_restorer", None)  # is not trained again
    assert np.array_equal(cifar["restored"](jpeg, learnt), restored)


def test_data_says_what_is_missing_when_the_folder_is_absent(cifar, monkeypatch, tmp_path):
    monkeypatch.setitem(cifar, "DATA", tmp_path)
    with pytest.raises(DataError, match=r"train_4000\.npz is missing.*LEANMARK_BENCH_DATA"):
        cifar["data"]()


def test_channels_between_blocks_are_unchanged_when_they_are_to_be_kept(cifar, context):
    """Padding hides from a trace which channels of two stages belong together, so only those inside of blocks go."""
    torch.manual_seed(0)
    net = cifar["ResNet"](1, 3).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
    config = StructuredPrune(macs=0.6, keep_layers=["conv1", "*.conv2"], round_to=2)
    pruned, record = config.apply(net, replace(context, teacher=net))
    assert set(record.done["layers"]) == {f"layer{stage}.0.conv1" for stage in (1, 2, 3)}
    assert {"conv1", "layer2.0.conv2"} <= {declined.what for declined in record.declined}

    masked = copy.deepcopy(net)
    for stage in (1, 2, 3):
        small, large = (model.get_submodule(f"layer{stage}.0") for model in (pruned, masked))
        means = small.bn1.running_mean
        gone = ~torch.isin(large.bn1.running_mean, means)
        assert int(gone.sum()) == len(gone) - len(means) > 0
        large.bn1.weight.data[gone] = large.bn1.bias.data[gone] = 0
    sample = context.sample(4)
    assert torch.allclose(pruned(sample), masked(sample), atol=1e-5)


def test_pruning_is_refused_when_no_layer_has_the_name_to_keep(cifar, context):
    with pytest.raises(UsageError, match=r"keep_layers: no layer matches layer9\.\*.*the first layer is conv1"):
        StructuredPrune(keep_layers=["layer9.*"]).apply(cifar["ResNet"](1, 3).eval(), context)
