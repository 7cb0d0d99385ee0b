from __future__ import annotations

import pytest
import torch

from certify.core.errors import MissingExtra, UsageError
from compress.models import catalog, factories
from compress.models import timm as timm_models


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


def test_names_have_the_prefix_and_are_listed_when_the_pattern_has_it(timm):
    known = factories.names("timm:*")
    assert len(known) == len(timm.list_models()) and all(name.startswith("timm:") for name in known)
    assert factories.names("timm:resnet18*") == ["timm:resnet18", "timm:resnet18d"]
    assert not any(name.startswith("timm:") for name in factories.names())


def test_build_follows_the_classes_and_the_seed(timm):
    first, again, other = (catalog.build("timm:test_resnet", 7, seed=seed) for seed in (1, 1, 2))
    weights = [built.model.state_dict()["conv1.0.weight"] for built in (first, again, other)]
    assert first.model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert first.needs_training and first.input_size is None
    assert torch.equal(first.source.instantiate(seed=1).state_dict()["conv1.0.weight"], weights[0])


def test_build_states_the_input_when_the_architecture_accepts_no_other(timm):
    assert timm_models.least_size("vit_tiny_patch16_224") == (224, 224)
    assert timm_models.least_size("resnet18") is None


def test_weights_of_timm_come_with_their_preprocessing(timm, tmp_path):
    built = catalog.build("timm:test_vit", 10)
    torch.save(built.model.state_dict(), tmp_path / "weights.pth")
    loaded = catalog.build("timm:test_vit", 10, weights=tmp_path / "weights.pth")
    stated = timm.models.get_pretrained_cfg("test_vit")
    assert loaded.pretrained and loaded.input_size == stated.input_size[1:]
    assert (loaded.mean, loaded.std, loaded.interpolation) == (stated.mean, stated.std, "bicubic")
    assert loaded.resize == int(loaded.input_size[0] / stated.crop_pct)


def test_build_names_the_nearest_when_timm_has_no_such_architecture(timm):
    with pytest.raises(UsageError, match="did you mean 'timm:resnet50d'.*leanmark models 'timm:"):
        catalog.build("timm:resnet5Od", 10)


def test_build_names_the_extra_when_timm_is_not_installed(monkeypatch):
    monkeypatch.setattr(timm_models.importlib.util, "find_spec", lambda name: None)
    assert timm_models.names() == []
    with pytest.raises(MissingExtra, match=r"'\.\[timm\]'"):
        catalog.build("timm:resnet50d", 10)
