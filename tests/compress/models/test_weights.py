from __future__ import annotations

import errno
import hashlib
import http.server
import io
import pickle
import resource
import socket
import threading

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import Weights, WeightsEnum

from certify.core.errors import DataError, ModelError, UsageError
from certify.core.progress import Silent
from compress.models import weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_read_returns_the_same_from_safetensors_and_torch(tmp_path):
    state = net().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "a.bin")
    torch.save(state, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.bin", "a.pth"):
        found = weights.read(tmp_path / name)
        assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in state.items()}, name


class Settings:
    """What a training script saves beside the weights."""


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_read_refuses_a_pickle_and_does_not_run_it(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save(net(), tmp_path / "whole.pth")
    torch.save({"model": net().state_dict(), "args": Settings()}, tmp_path / "settings.pth")
    for name, found in (
        ("evil.pth", "print"),
        ("whole.pth", r"torch.nn.modules.(linear.Linear|container.Sequential)"),
        ("settings.pth", f"{__name__}.Settings"),
    ):
        with pytest.raises(
            ModelError, match=f"{name}: contains objects of .*{found}.*save the state_dict.*compress.run"
        ):
            weights.read(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_read_reports_a_damaged_file(tmp_path, name):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(net().state_dict(), path)
    else:
        save_file(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match=name):
        weights.read(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_read_says_what_to_give_when_the_file_is_something_else(content, tmp_path):
    (tmp_path / "own.pth").write_bytes(content)
    with pytest.raises(ModelError, match="own.pth is neither a safetensors file nor a state dict"):
        weights.read(tmp_path / "own.pth")


def test_read_refuses_what_is_not_a_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no state dict"):
        weights.read(tmp_path / "list.pth")


def test_read_says_what_to_do_when_the_file_is_torchscript(tmp_path):
    torch.jit.trace(net().eval(), torch.zeros(1, 2)).save(tmp_path / "traced.pt")
    with pytest.raises(ModelError, match=r"is TorchScript.*torch.jit.load\('traced.pt'\).state_dict\(\)"):
        weights.read(tmp_path / "traced.pt")


def test_fit_counts_and_names_what_does_not_fit():
    state = net().state_dict()
    state["0.weight"] = torch.zeros(3, 5)
    state["extra"] = state.pop("1.running_mean")
    before = net()
    with pytest.raises(ModelError) as raised:
        weights.fit(before, state, "w.safetensors")
    sentence = str(raised.value)
    assert "1 missing: 1.running_mean" in sentence and "1 unexpected: extra" in sentence
    assert "1 of another shape: 0.weight (3 x 5, the model has 3 x 2)" in sentence


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_fit_refuses_a_weight_that_is_not_in_floating_point(dtype):
    state = {**net().state_dict(), "0.weight": torch.ones(3, 2).to(dtype)}
    with pytest.raises(
        ModelError, match=rf"1 not in floating point: 0\.weight \({str(dtype).removeprefix('torch.')}\)"
    ):
        weights.fit(net(), state, "w.pth")


@pytest.mark.parametrize(
    ("bias", "what"),
    [
        (torch.ones(3).to_sparse(), "sparse"),
        (torch.ones(3, device="meta"), "without values"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantized"),
    ],
)
def test_read_refuses_tensors_that_no_model_can_copy(bias, what, tmp_path):
    torch.save({"model": {"weight": torch.ones(3, 2), "bias": bias}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=rf"tensor 'model\.bias' is {what}; save the state_dict\(\) with dense"):
        weights.read(tmp_path / "w.pth")


def test_fit_names_the_first_few_only_when_there_are_many():
    with pytest.raises(ModelError, match=r"7 missing: .*, \.\.\.") as raised:
        weights.fit(nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(7))), {}, "w")
    assert "6.weight" not in str(raised.value)


def test_fit_loads_everything_and_does_without_batch_counters():
    state, model = net().state_dict(), net()
    del state["1.num_batches_tracked"]
    weights.fit(model, state, "w")
    assert torch.equal(model[0].weight, state["0.weight"])


def test_fit_accepts_the_old_keys_of_densenet():
    block = nn.ModuleDict({"norm1": nn.BatchNorm2d(2)})
    model = nn.ModuleDict({"denselayer1": block})
    state = {k.replace("norm1", "norm.1"): v + 1 for k, v in model.state_dict().items()}
    weights.fit(model, state, "w")
    assert block["norm1"].weight.tolist() == [2, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_fit_names_the_tensor_when_a_value_is_not_finite(tmp_path, bad):
    state = net().state_dict()
    state["0.bias"][1] = bad
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(ModelError, match="bad.safetensors: tensor '0.bias' has 1 of"):
        weights.fit(net(), weights.read(tmp_path / "bad.safetensors"), "bad.safetensors")


def test_load_names_the_nearest_when_torchvision_has_no_such_weights():
    with pytest.raises(UsageError, match="did you mean 'IMAGENET1K_V2'"):
        weights.load("IMAGENET1KV2", "resnet50", Silent())


@pytest.mark.parametrize("given", ["missing.safetensors", "folder/weights", "DEFAULT"])
def test_load_reports_a_missing_file(given):
    with pytest.raises(ModelError, match="weight file not found"):
        weights.load(given, None if given == "DEFAULT" else "resnet50", Silent())


def test_write_raises_the_same_error_as_other_writers_when_the_file_size_limit_is_reached(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            weights.write({"w": torch.zeros(3000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content) + (1 if "short" in self.path else 0)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        return None


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A torchvision model whose weights a local server publishes; returns what makes it so and counts the requests."""
    buffer = io.BytesIO()
    torch.save(net().state_dict(), buffer)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.content = buffer.getvalue()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def publish(name):
        name = name.replace("DIGEST", hashlib.sha256(running.content).hexdigest()[:8])
        entry = Weights(url=f"http://127.0.0.1:{running.server_port}/{name}", transforms=dict, meta={})
        known = WeightsEnum("Toy_Weights", {"DEFAULT": entry})
        monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: known)

    yield publish
    running.shutdown()
    running.server_close()


def test_load_downloads_torchvisions_weights_once_when_their_digest_is_the_stated_one(published, tmp_path):
    published("toy-DIGEST.pth")
    first = weights.load("DEFAULT", "toy", Silent())
    kept = next((tmp_path / "hub" / "checkpoints").iterdir())
    before = kept.stat().st_mtime_ns
    again = weights.load("Toy_Weights.DEFAULT", "toy", Silent())
    assert kept.stat().st_mtime_ns == before and first.origin == again.origin
    weights.fit(net(), again.state, again.name)


@pytest.mark.parametrize(
    ("name", "sentence"), [("toy-00000000.pth", "the download has sha256"), ("short-DIGEST.pth", "interrupted.*again")]
)
def test_load_keeps_no_weights_when_the_download_is_not_the_published_file(published, tmp_path, name, sentence):
    published(name)
    with pytest.raises(DataError, match=sentence):
        weights.load("DEFAULT", "toy", Silent())
    assert not list((tmp_path / "hub").rglob("*.pth"))


def test_load_says_what_to_do_instead_when_there_is_no_network(published, monkeypatch):
    published("toy-DIGEST.pth")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror("no network")))
    with pytest.raises(DataError, match="download failed.*or give WEIGHTS as a file"):
        weights.load("DEFAULT", "toy", Silent())
