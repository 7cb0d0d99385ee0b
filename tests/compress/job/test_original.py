"""The two doors of a torch model, by name and as a module: each is tried on a sample before any work."""

from __future__ import annotations

import importlib.util
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune, weight_norm
from torch.nn.utils.parametrizations import spectral_norm

from certify.core.errors import ModelError
from certify.core.progress import Silent
from certify.data import load
from compress.core.model_stats import count_macs
from compress.exchange import checkpoint
from compress.job import recipe
from compress.job.context import fingerprint, make_context
from compress.job.original import Request, find_original
from compress.models.probe import probe
from compress.testing.networks import CLASSES

PIXELS = {"mean": [0.5] * 3, "std": [0.5] * 3}


class Net(nn.Module):
    """A small classifier whose forward pass ends in what a test wants."""

    def __init__(self, end=None, channels=3):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(channels, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, CLASSES)
        self.end = end or (lambda net, x, features: net.head(features))

    def forward(self, x):
        return self.end(self, x, self.norm(self.conv(x)).relu().mean((2, 3)))


class TwoInputs(Net):
    def forward(self, left, right):
        return super().forward(left + right)


class KeywordOnly(Net):
    def forward(self, *, pixels):
        return super().forward(pixels)


class SilentTrain(Net):
    """Keeps its batch norm in evaluation mode, by a ``train`` that returns nothing."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()


class OwnError(Exception):
    """As libraries define them."""


def raising(error):
    raise error


def fixed_size():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64 * 64, CLASSES))


def without_statistics():
    return nn.Sequential(Net(lambda net, x, f: x).conv, nn.BatchNorm2d(8, track_running_stats=False), *pooled(8))


def pooled(width):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES)


REFUSED = {
    "two inputs": (TwoInputs, r"takes 2 inputs \(left, right\)"),
    "a keyword": (KeywordOnly, "takes pixels by keyword only; wrap it"),
    "an exit": (lambda: Net(lambda net, x, f: sys.exit("no GPU")), "SystemExit: no GPU"),
    "an own error": (lambda: Net(lambda net, x, f: raising(OwnError("no such head"))), "OwnError: no such head"),
    "bfloat16": (lambda: Net(lambda net, x, f: net.head(f).bfloat16()), r"returns torch\.bfloat16.*\.float\(\)"),
    "a dict": (lambda: Net(lambda net, x, f: {"logits": net.head(f), "box": f}), r"returns a dict \(logits, box\)"),
    "a tuple": (lambda: Net(lambda net, x, f: (net.head(f), f)), "returns a tuple of 2"),
    "nothing": (lambda: Net(lambda net, x, f: None), "returns a NoneType"),
    "classes": (lambda: Net(lambda net, x, f: net.head(f).argmax(1)), "returns torch.int64"),
    "maps": (lambda: Net(lambda net, x, f: x), r"returns \(1, 3, 32, 32\) for 1 sample"),
    "no batch": (lambda: Net(lambda net, x, f: net.head(f).squeeze()), "drops the batch dimension"),
    "batch of one": (lambda: Net(lambda net, x, f: net.head(f).view(1, -1)), r"returns \(1, 8\) for 2 sample"),
    "one output": (lambda: Net(lambda net, x, f: net.head(f)[:, :1]), r"has 1 output\(s\), but the data has 4 classes"),
    "not finite": (lambda: Net(lambda net, x, f: net.head(f) / 0), "not finite"),
    "in place": (lambda: Net(lambda net, x, f: (x.mul_(0.5), net.head(f))[1]), "changes its input in place; copy it"),
    "by chance": (lambda: Net(lambda net, x, f: net.head(F.dropout(f, 0.5))), "different outputs each time"),
    "the batch": (lambda: Net(lambda net, x, f: net.head(f) + x.mean(0)[0, 0, 0]), "depend on the rest of the batch"),
    "no statistics": (without_statistics, "batch norm without running statistics, '1'"),
    "one channel": (lambda: Net(channels=1), r"layer 'conv' takes 1 channel and gets 3"),
    "other size": (fixed_size, r"layer '2' takes 16384 features and gets 4096"),
    "a failure": (lambda: Net(lambda net, x, f: net.absent), r"AttributeError.*'absent'.*\.py:\d+"),
    "TorchScript": (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), *pooled(4))), "is TorchScript"),
    "channels last": (
        lambda: Net(lambda net, x, f: net(x.movedim(1, 3))),
        r"takes 3 channel.*gets 32.*size and layout",
    ),
    "integers": (lambda: torch.ao.quantization.quantize_dynamic(Net()), "not a tensor, as in quantized modules"),
    "no outputs": (lambda: Net(lambda net, x, f: net.head(f)[:, :0]), r"returns \(1, 0\) for 1 sample"),
    "a name of two lines": (lambda: nn.Sequential(OrderedDict({"a\nb": Net()})), r"'a\\nb' has .* in its name"),
    "a quoted name": (lambda: nn.Sequential(OrderedDict({'a"b': Net()})), r"'a\"b' has .* in its name"),
    "a lazy layer": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)), "lazy module"),
}
TAKEN = {
    "silent train": SilentTrain,
    "half": lambda: Net().half(),
    "double": lambda: Net().double(),
    "compiled": lambda: torch.compile(Net()),
    "compiled inside": lambda: nn.Sequential(torch.compile(nn.Conv2d(3, 8, 3)), *pooled(8)),
    "data parallel": lambda: nn.DataParallel(Net()),
}


def named(make, monkeypatch):
    """The name by which a factory is found."""
    factory = importlib.util.module_from_spec(importlib.util.spec_from_loader("factory_of_a_test", None))
    factory.make = make
    monkeypatch.setitem(sys.modules, "factory_of_a_test", factory)
    return "factory_of_a_test:make"


@pytest.fixture(params=["name", "module"])
def door(request, dataset, monkeypatch):
    """Both ways in: a factory by name, and the module itself."""

    def enter(make):
        given = named(make, monkeypatch) if request.param == "name" else make()
        return find_original(Request(given, preprocess=PIXELS), dataset, Silent()).module

    return enter


@pytest.mark.parametrize("kind", REFUSED)
def test_torch_model_is_refused_in_one_sentence_when_it_is_not_usable(kind, door):
    make, sentence = REFUSED[kind]
    with pytest.raises(ModelError, match=sentence) as raised:
        door(make)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", TAKEN)
def test_torch_model_is_unwrapped_and_cast_when_it_is_wrapped_or_of_another_type(kind, door):
    taken = door(TAKEN[kind])
    assert not taken.training and taken(torch.zeros(2, 3, 32, 32)).dtype == torch.float32
    assert count_macs(taken, torch.zeros(1, 3, 32, 32)) > 0
    assert "_orig_mod" not in str(taken) and type(taken) in (Net, SilentTrain, nn.Sequential)


def masked(layer):
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return layer


@pytest.mark.parametrize("change", [weight_norm, spectral_norm, masked, nn.utils.spectral_norm])
def test_computed_weights_are_folded_without_changing_outputs(change, dataset, tmp_path):
    network = nn.Sequential(change(nn.Conv2d(3, 8, 3)), nn.ReLU(), *pooled(8))
    network(torch.ones(1, 3, 32, 32))
    network.eval()
    before = set(network.state_dict())
    original = find_original(Request(network, preprocess=PIXELS), dataset, Silent()).module
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(original(images), network(images), atol=1e-6)
    assert list(original.state_dict()) == ["0.bias", "0.weight", "4.weight", "4.bias"]
    assert set(network.state_dict()) == before  # the user's module stays as it was
    checkpoint.save(tmp_path / "model.safetensors", original, None, original=original)
    assert torch.equal(checkpoint.load(tmp_path / "model.safetensors", into=network)(images), original(images))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda config: Net(), "cannot be called with.*'config'.*--model-args"),
        (lambda: 1 / 0, r"failed to build a model \(ZeroDivisionError.*test_original.py:\d+"),
        (lambda: (Net(), None), "returned a tuple"),
    ],
)
def test_factory_is_refused_in_one_sentence_when_it_returns_no_model(make, sentence, dataset, monkeypatch):
    with pytest.raises(ModelError, match=sentence):
        find_original(Request(named(make, monkeypatch), preprocess=PIXELS), dataset, Silent())


def test_weights_of_the_parametrized_architecture_are_loaded_before_they_are_folded(dataset, tmp_path, monkeypatch):
    def make():
        return nn.Sequential(spectral_norm(nn.Conv2d(3, 8, 3)), *pooled(8))

    trained = make().eval()
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    request = Request(named(make, monkeypatch), str(tmp_path / "own.pth"), PIXELS)
    found = find_original(request, dataset, Silent()).module
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(found(images), trained(images), atol=1e-6) and "0.weight" in found.state_dict()


def test_channels_are_to_be_put_first_when_arrays_have_them_last():
    with pytest.raises(ModelError, match=r"layer 'conv' takes 3 channels, which are last in the samples"):
        probe(Net(), np.zeros((2, 32, 32, 3), np.float32), "net")


def test_public_description_names_no_home_folder(dataset, onnx_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "homely_nets.py").write_text("from compress.testing.networks import Residual as Net\n")
    torch.save(
        find_original(Request("homely_nets:Net", None, PIXELS), dataset, Silent()).module.state_dict(), "net.pth"
    )
    images = np.stack([dataset.test.image(row) for row in range(len(dataset.test))])
    np.savez("data.npz", x=images, y=dataset.test.labels)
    for model, weights, spec in (
        (onnx_file, None, onnx_file.name),
        (f"~/{onnx_file.name}", None, onnx_file.name),
        ("homely_nets:Net", tmp_path / "net.pth", "homely_nets:Net"),
        ("homely_nets:Net", "~/net.pth", "homely_nets:Net"),
    ):
        found = find_original(Request(model, weights and str(weights), PIXELS), dataset, Silent())
        assert found.spec == spec and found.digest and found.weights in (None, "~/net.pth")
        assert str(tmp_path) not in f"{found.described} {found.origin} {found.weights}"
    data = load(f"npz:{tmp_path / 'data.npz'}")
    assert data.spec == "npz:~/data.npz" and load(data.spec).test_digest() == data.test_digest()


def test_name_of_a_model_is_shortened_when_it_has_long_arguments(dataset, tmp_path, monkeypatch):
    (tmp_path / "wordy_nets.py").write_text(
        "from compress.testing.networks import Residual\ndef net(num_classes, note): return Residual(num_classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    first, second = (
        find_original(Request("wordy_nets:net", None, PIXELS, 0, {"note": f"{300 * 'x'}{end}"}), dataset, Silent())
        for end in "ab"
    )
    assert first.described == second.described and len(first.described) <= 256 and first.described.endswith("...)")
    context = {"target": None, "progress": Silent(), "seed": 0, "max_train_time": None}
    data = {"digests": {}, "counts": {}}
    keys = [
        fingerprint(one, recipe.load("int8"), data, make_context(one, dataset, **context)) for one in (first, second)
    ]
    assert keys[0] != keys[1]
