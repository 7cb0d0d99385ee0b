from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from certify.core.errors import UsageError
from certify.data import default_preprocess
from compress.training import data


@pytest.fixture
def preprocess(dataset):
    return default_preprocess(dataset)


def _all(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_torch_split_matches_the_contract(dataset, preprocess):
    split = data.TorchSplit(dataset.train, preprocess)
    images, labels = next(iter(DataLoader(split, batch_size=3)))
    assert np.array_equal(images.numpy(), preprocess.batch(dataset.train, [0, 1, 2]))
    assert labels.tolist() == dataset.train.labels[:3].tolist()
    assert len(split) == len(dataset.train)


def test_torch_split_refuses_a_contract_that_torch_models_do_not_take(dataset, preprocess):
    with pytest.raises(UsageError, match="float32 NHWC"):
        data.TorchSplit(dataset.train, replace(preprocess, layout="NHWC"))


@pytest.mark.parametrize("limit", [data.IN_MEMORY_BYTES, 0])
def test_loader_gives_every_sample_once_in_order_whether_kept_or_decoded(dataset, preprocess, monkeypatch, limit):
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", limit)
    batches = data.loader(dataset.validation, preprocess, 20, shuffle=False, seed=0)
    assert [len(labels) for _, labels in batches] == [16, 16, 16] and len(batches) == 3
    images, labels = _all(batches)
    assert np.array_equal(images.numpy(), preprocess.batch(dataset.validation, range(48)))
    assert labels.tolist() == dataset.validation.labels.tolist()


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).view(len(x), -1)


def test_layout_is_contiguous_when_the_model_views_its_feature_maps():
    samples, place = torch.randn(2, 3, 8, 8), torch.device("cpu")
    model = Viewing().to(memory_format=torch.channels_last).eval()
    assert data.layout_for(model, samples, place) == torch.contiguous_format
    assert model(samples).shape == (2, 4 * 36)
    assert data.layout_for(nn.Conv2d(3, 4, 3).eval(), samples, place) == torch.channels_last


def test_error_of_a_model_is_raised_when_the_layout_is_not_its_reason():
    with pytest.raises(RuntimeError, match="channels"):
        data.layout_for(nn.Conv2d(5, 4, 3).eval(), torch.randn(2, 3, 8, 8), torch.device("cpu"))


def test_loader_has_no_tiny_batch_when_the_sizes_do_not_divide(dataset, preprocess):
    sizes = [len(y) for _, y in data.loader(dataset.train.subset(range(65)), preprocess, 64, shuffle=True, seed=0)]
    assert sorted(sizes) == [32, 33]


@pytest.mark.parametrize("limit", [data.IN_MEMORY_BYTES, 0])
def test_loader_repeats_under_a_seed_but_differs_between_epochs(dataset, preprocess, monkeypatch, limit):
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", limit)

    def two_passes(seed):
        batches = data.loader(dataset.train, preprocess, 32, shuffle=True, seed=seed, augment=True, flip=True)
        return [_all(batches) for _ in range(2)]

    (first, labels), (second, _) = two_passes(1)
    (again, _), (again_second, _) = two_passes(1)
    assert torch.equal(first, again) and torch.equal(second, again_second)
    assert not torch.equal(first, second) and not torch.equal(first, two_passes(2)[0][0])
    assert sorted(labels.tolist()) == sorted(dataset.train.labels.tolist())


def test_shifting_moves_by_a_sixteenth_at_most_and_repeats_the_edge():
    images = torch.arange(32.0).repeat(200, 1, 32, 1)  # each pixel holds its column
    moved = data._moved(images, *data._moves(len(images), images.shape, np.random.default_rng(0), flip=False))
    shifts = moved[:, 0, 16, 16] - 16
    assert set(shifts.tolist()) == {-2, -1, 0, 1, 2}
    left = moved[shifts == -2][0, 0, 5]
    assert left[:4].tolist() == [0, 0, 0, 1]


def test_flipping_mirrors_about_half():
    images = torch.arange(32.0).repeat(400, 1, 32, 1)
    moved = data._moved(images, *data._moves(len(images), images.shape, np.random.default_rng(0), flip=True))
    mirrored = (moved[:, 0, 0, 31] < moved[:, 0, 0, 0]).float().mean()
    assert 0.4 < mirrored < 0.6
