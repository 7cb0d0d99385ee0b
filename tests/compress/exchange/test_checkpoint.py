from __future__ import annotations

import copy
import json

import pytest
import torch
import torch_pruning
from safetensors.torch import load_file, save_file
from torch import nn

from certify.core.errors import ModelError
from compress.exchange.checkpoint import load, read_record, save, structure_path
from compress.models import catalog
from compress.models.built_model import BuiltModel


def _pruned(name: str, classes: int = 5, size: int = 64) -> BuiltModel:
    built = catalog.build(name, classes)
    head = built.model.get_submodule(catalog.head_of(built.model, classes))
    torch_pruning.pruner.MetaPruner(
        built.model,
        torch.zeros(1, 3, size, size),
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        round_to=8,
        ignored_layers=[head],
    ).step()
    return built


@pytest.fixture(scope="module")
def pruned() -> BuiltModel:
    return _pruned("resnet18")


@pytest.fixture
def saved(pruned, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, pruned.model, pruned.source, {"note": [1, 2]})
    return path


def _same_outputs(first: nn.Module, second: nn.Module) -> bool:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(first.eval()(x), second.eval()(x))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "regnet_y_400mf"])
def test_load_returns_a_pruned_model(name, tmp_path):
    built = _pruned(name)
    fresh = catalog.build(name, 5).model
    assert sum(p.numel() for p in built.model.parameters()) < 0.6 * sum(p.numel() for p in fresh.parameters())
    save(tmp_path / "model.safetensors", built.model, built.source)
    loaded = load(tmp_path / "model.safetensors")
    assert _same_outputs(loaded, built.model) and not loaded.training


def test_load_returns_a_trainable_model(saved):
    loaded = load(saved).train()
    loaded(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())
    assert (loaded.conv1.out_channels, loaded.bn1.num_features) == (32, 32) == tuple(loaded.bn1.weight.shape) * 2


def test_save_writes_two_files_without_pickle(saved):
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model.safetensors", "model.structure.json"]
    record = read_record(saved)
    assert record["source"] == {"factory": "torchvision.models:resnet18", "kwargs": {}, "classes": 5}
    assert record["sizes"]["conv1"] == {"out_channels": 32} and record["extra"] == {"note": [1, 2]}
    assert "fc" not in record["sizes"] or "out_features" not in record["sizes"]["fc"]
    assert load_file(saved)["conv1.weight"].shape == (32, 3, 7, 7)


def test_save_does_not_change_the_model_and_is_repeatable(pruned, saved, tmp_path):
    before = saved.read_bytes()
    save(saved, pruned.model, pruned.source, {"note": [1, 2]})
    assert saved.read_bytes() == before


def test_load_needs_a_model_when_there_is_no_factory(model, tmp_path):
    path = tmp_path / "own.safetensors"
    save(path, model, None)
    with pytest.raises(ModelError, match="without a factory; give a model"):
        load(path)
    other = copy.deepcopy(model)
    nn.init.zeros_(other.head.weight)
    before = other.head.weight.clone()
    loaded = load(path, other)
    assert torch.equal(loaded.head.weight, model.head.weight) and torch.equal(other.head.weight, before)


def test_load_restores_a_pruned_user_module_into_the_original(model, tmp_path):
    original = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(model, torch.zeros(1, 3, 32, 32))
    graph.get_pruning_group(model.stem[0], torch_pruning.prune_conv_out_channels, idxs=[1, 5, 6]).prune()
    save(tmp_path / "own.safetensors", model, None, original=original)
    loaded = load(tmp_path / "own.safetensors", copy.deepcopy(original))
    x = torch.randn(2, 3, 32, 32)
    assert loaded.stem[0].out_channels == 13 and torch.equal(loaded(x), model(x))


def test_load_never_calls_a_factory_outside_torchvision(saved, tmp_path):
    record = json.loads(structure_path(saved).read_text())
    record["source"] = {"factory": "pathlib:Path.home", "kwargs": {}, "classes": 5}
    for factory in ("os:system", "torchvision.models:get_model", "torchvision.models:no_such"):
        record["source"]["factory"] = factory
        structure_path(saved).write_text(json.dumps(record))
        with pytest.raises(ModelError, match="give a model of the same structure"):
            load(saved)


def test_save_refuses_a_model_that_differs_in_more_than_sizes(pruned, tmp_path):
    changed = copy.deepcopy(pruned.model)
    changed.layer1[0].relu = nn.GELU()
    with pytest.raises(ModelError, match="layer1.0.relu"):
        save(tmp_path / "m.safetensors", changed, pruned.source)
    assert list(tmp_path.iterdir()) == []


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.again = self.first
        self.register_buffer("scale", torch.ones(4))
        self.register_buffer("scratch", torch.zeros(4), persistent=False)


def test_load_keeps_shared_tensors_shared(tmp_path):
    model = Shared()
    save(tmp_path / "m.safetensors", model, None)
    loaded = load(tmp_path / "m.safetensors", Shared())
    assert loaded.second.weight is loaded.first.weight and torch.equal(loaded.first.weight, model.first.weight)
    assert loaded.again is loaded.first and torch.equal(loaded.second.bias, model.second.bias)
    assert "second.weight" not in load_file(tmp_path / "m.safetensors")


@pytest.mark.parametrize("gone", ["model.safetensors", "model.structure.json"])
def test_load_names_the_missing_file(saved, gone):
    (saved.parent / gone).unlink()
    with pytest.raises(ModelError, match=gone):
        load(saved)


def test_load_refuses_files_from_two_saves(saved):
    state = load_file(saved)
    state["fc.bias"] += 1
    save_file(state, saved)
    with pytest.raises(ModelError, match="does not belong to model.structure.json"):
        load(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: "{",
        lambda record: "[]",
        lambda record: "[" * 100_000,
        lambda record: json.dumps({**record, "format": 99}),
        lambda record: json.dumps({**record, "sizes": []}),
        lambda record: json.dumps({**record, "sizes": {"conv1": {"nonsense": 3}}}),
        lambda record: json.dumps({**record, "sizes": {"nowhere": {"out_channels": 3}}}),
        lambda record: json.dumps({**record, "source": {"factory": "torchvision.models:resnet18"}}),
        lambda record: json.dumps({**record, "source": 5}),
    ],
)
def test_load_names_the_record_when_it_is_malformed(saved, damage):
    beside = structure_path(saved)
    beside.write_text(damage(json.loads(beside.read_text())))
    with pytest.raises(ModelError, match="model.structure.json"):
        load(saved)


def test_load_names_what_does_not_fit(saved, model):
    with pytest.raises(ModelError, match="missing.*left over|no size"):
        load(saved, model)


def test_load_finds_the_checkpoint_when_a_folder_is_given(model, tmp_path):
    save(tmp_path / "model.safetensors", model, None)
    assert torch.equal(load(str(tmp_path), model).head.weight, model.head.weight)
