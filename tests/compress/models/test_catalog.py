from __future__ import annotations

import importlib
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from certify.core.errors import ModelError, UsageError
from compress.core.model_stats import state_digest
from compress.models import catalog, factories


@pytest.fixture
def factory(tmp_path, monkeypatch) -> str:
    """A factory in the working folder."""
    lines = [
        "from torch import nn",
        "def make(num_classes=7): return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))",
        "def fixed(): return nn.Linear(4, 3)",
        "def wrong(): return 5",
    ]
    (tmp_path / "own_models.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return "own_models"


def test_names_holds_every_classifier_of_torchvision_and_no_other():
    known = factories.names()
    assert len(known) == len(torchvision.models.list_models(module=torchvision.models)) >= 80
    assert "resnet50" in known and "fasterrcnn_resnet50_fpn" not in known and "quantized_resnet50" not in known


@pytest.mark.parametrize(
    ("pattern", "found"), [("resnet18", ["resnet18"]), ("vit_?_32", ["vit_b_32", "vit_l_32"]), ("nothing", [])]
)
def test_names_accepts_substrings_and_shell_patterns(pattern, found):
    assert factories.names(pattern) == found


def test_build_names_the_nearest_model_when_the_name_is_unknown():
    with pytest.raises(UsageError, match="did you mean 'resnet50'") as raised:
        catalog.build("resnet5O", 10)
    assert raised.value.exit_code == 2


def test_build_follows_the_classes_and_the_seed():
    first, again, other = (catalog.build("squeezenet1_1", 7, seed=seed).model for seed in (1, 1, 2))
    weights = [model.state_dict()["features.0.weight"] for model in (first, again, other)]
    assert first(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_build_does_not_touch_the_global_generator():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    catalog.build("squeezenet1_1", 7)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_build_omits_auxiliary_heads(name):
    built = catalog.build(name, 5)
    built.model.train()
    assert isinstance(built.model(torch.zeros(2, 3, 96, 96)), torch.Tensor)
    assert built.needs_training


def test_build_states_the_least_input_when_the_architecture_has_one():
    assert catalog.build("alexnet", 10).input_size == (63, 63)
    assert catalog.build("resnet18", 10).input_size is None


def test_build_calls_a_factory_of_the_working_folder_with_the_classes(factory):
    built = catalog.build(f"{factory}:make", 4)
    assert built.model(torch.zeros(1, 3, 2, 2)).shape == (1, 4)
    assert catalog.build(f"{factory}:fixed", 4).model.out_features == 3


@pytest.mark.parametrize(
    ("spec", "error", "sentence"),
    [
        ("own_models:mkae", UsageError, "did you mean 'make'"),
        ("own_models:wrong", ModelError, "returned a int"),
        ("no_such_module_at_all:make", UsageError, "Unknown model"),
        ("own_models.inner:make", UsageError, "neither installed"),
    ],
)
def test_build_explains_errors_of_a_factory(factory, spec, error, sentence):
    with pytest.raises(error, match=sentence):
        catalog.build(spec, 4)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("def make(:", "SyntaxError: .*broken_models.py, line 1"),
        ("raise RuntimeError('boom')", "RuntimeError: boom, broken_models.py:1"),
        ("import sys; sys.exit(3)", "SystemExit: 3, broken_models.py:1"),
        ("from os import no_such_name", "ImportError: cannot import name"),
    ],
)
def test_build_explains_a_module_that_fails_when_imported(line, why, tmp_path, monkeypatch):
    (tmp_path / "broken_models.py").write_text(line)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_models", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=f"Model 'broken_models:make': importing broken_models fails .{why}"):
        catalog.build("broken_models:make", 4)


def test_weights_are_the_factorys_own_when_they_do_not_depend_on_the_seed(tmp_path, monkeypatch):
    torch.save(torch.nn.Linear(5, 4).state_dict(), tmp_path / "own.pth")
    lines = ["import torch", "def fresh(): return torch.nn.Linear(5, 4)", "def loaded():", "    net = fresh()"]
    lines += ["    net.load_state_dict(torch.load('own.pth'))", "    return net"]
    (tmp_path / "trained_models.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "trained_models", raising=False)
    loaded, fresh = (catalog.build(f"trained_models:{name}", 4) for name in ("loaded", "fresh"))
    assert not loaded.needs_training and loaded.digest == state_digest(loaded.model)
    assert loaded.origin == "with the weights that its factory loads"
    assert fresh.needs_training and fresh.origin == "random weights, seed 0" and fresh.digest is None


FACTORIES = """
import torch
from torch import nn

def fresh():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 4))
    net.place = nn.Parameter(torch.zeros(2, 3))  # the same under every seed, but not loaded
    return net

def backbone():
    net, own = fresh(), torch.load("own.pth")
    net.load_state_dict({**net.state_dict(), **{key: own[key] for key in own if key[0] in KEPT}})
    return net
"""


@pytest.mark.parametrize(
    ("kept", "pretrained", "partly", "origin"),
    [
        ("012", True, False, "with weights that its factory loads and random ones in 4, seed 0"),
        ("0", False, True, "with weights that its factory loads and random ones in 2, 4, seed 0"),
        ("1", False, False, "random weights, seed 0"),
    ],
)
def test_weights_that_a_factory_loads_are_distinguished_from_those_that_it_draws(
    kept, pretrained, partly, origin, tmp_path, monkeypatch
):
    made: dict = {}
    exec(FACTORIES, made)
    torch.save(made["fresh"]().state_dict(), tmp_path / "own.pth")
    (tmp_path / "partial_models.py").write_text(f"KEPT = {kept!r}\n{FACTORIES}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "partial_models", raising=False)
    importlib.invalidate_caches()
    built = catalog.build("partial_models:backbone", 4)
    assert (built.pretrained, built.new_head, built.partly_given) == (pretrained, pretrained, partly)
    assert built.origin == origin and built.needs_training
    assert (built.digest is None) == (origin == "random weights, seed 0")


def _saved(tmp_path, outputs: int):
    net = catalog.build("squeezenet1_1", outputs, seed=3).model
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    return net, path


def test_build_keeps_the_head_when_weights_have_the_classes_of_the_data(tmp_path):
    net, path = _saved(tmp_path, 6)
    built = catalog.build("squeezenet1_1", 6, path)
    assert built.pretrained and not built.new_head and not built.uses_class_map and not built.needs_training
    assert torch.equal(built.model.classifier[1].weight, net.classifier[1].weight)
    assert "net.safetensors" in built.origin


def test_build_keeps_all_outputs_when_the_data_has_a_class_map(tmp_path):
    net, path = _saved(tmp_path, 12)
    built = catalog.build("squeezenet1_1", 3, path, class_map=(0, 5, 11))
    assert built.uses_class_map and not built.needs_training and built.source.classes == 12
    assert torch.equal(built.model.classifier[1].weight, net.classifier[1].weight)


@pytest.mark.parametrize("class_map", [None, (0, 5, 12)])
def test_build_makes_a_new_head_when_no_class_map_fits(tmp_path, class_map):
    net, path = _saved(tmp_path, 12)
    built = catalog.build("squeezenet1_1", 3, path, class_map=class_map)
    assert built.new_head and built.needs_training and built.pretrained and built.source.classes == 3
    assert built.model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    assert torch.equal(built.model.features[0].weight, net.features[0].weight)


def test_build_accepts_weights_with_auxiliary_heads_for_a_network_without(tmp_path):
    whole = torchvision.models.googlenet(num_classes=5, aux_logits=True, init_weights=False)
    path = tmp_path / "google.safetensors"
    save_file(whole.state_dict(), path)
    built = catalog.build("googlenet", 5, path)
    assert torch.equal(built.model.fc.weight, whole.fc.weight)


def test_build_uses_the_preprocessing_of_torchvision_when_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    net = torchvision.models.squeezenet1_1()
    torch.save(net.state_dict(), tmp_path / "checkpoints" / url.rsplit("/", 1)[-1])
    built = catalog.build("squeezenet1_1", 2, "DEFAULT", class_map=(3, 999))
    assert (built.input_size, built.resize, built.interpolation) == ((224, 224), 256, "bilinear")
    assert built.mean == (0.485, 0.456, 0.406) and built.std == (0.229, 0.224, 0.225)
    assert built.origin == "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1" and built.uses_class_map
    assert torch.equal(built.model.features[0].weight, net.features[0].weight)


def test_head_of_refuses_a_model_that_does_not_end_in_the_classes():
    with pytest.raises(ModelError, match="'1' has 3 outputs"):
        catalog.head_of(nn.Sequential(nn.Linear(2, 9), nn.Linear(9, 3)), 9)


@pytest.mark.parametrize(
    ("spec", "right"),
    [
        ("own_models.make", "write own_models:make"),
        ("own_models.py:make", "write own_models:make, and run the command in the folder that contains own_models"),
        ("./own_models.py", "write own_models:FACTORY"),
        ("sub/nets.py", "write sub.nets:Only"),
        ("sub/nets.py:Only", "write sub.nets:Only"),
        ("own.pth", "package.module:factory --weights own.pth"),
        ("sub/last.ckpt", "package.module:factory --weights sub/last.ckpt"),
        ("resnet5O", r"did you mean 'resnet50'\? A model is a name listed by leanmark models, package.module:factory"),
    ],
)
def test_build_suggests_the_spelling_when_a_model_is_misspelt(factory, tmp_path, spec, right):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "nets.py").write_text("def _hidden(): ...\nclass Only: ...\n")
    with pytest.raises(UsageError, match=right):
        catalog.build(spec, 4)


def test_build_passes_the_given_arguments_to_a_factory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaf_net.py").write_text(
        "from torch import nn\n"
        "class Leaf(nn.Sequential):\n"
        "    def __init__(self, config, num_classes=3):\n"
        "        width = config['width']\n"
        "        super().__init__(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, num_classes))\n"
    )
    with pytest.raises(ModelError, match="cannot be called with num_classes .*'config'.*--model-args"):
        catalog.build("leaf_net:Leaf", 4)
    built = catalog.build("leaf_net:Leaf", 4, arguments={"config": {"width": 5}})
    assert built.model[1].out_features == 5 and built.source.instantiate()[2].out_features == 4
    assert catalog.build("squeezenet1_1", 4, arguments={"dropout": 0.25}).model.classifier[0].p == 0.25
