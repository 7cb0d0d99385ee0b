from __future__ import annotations

import http.server
import pickle
import socket
import threading

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from certify.errors import ModelError, UsageError
from certify.progress import Silent
from compress import weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_read_gives_the_same_from_safetensors_and_torch(tmp_path):
    state = net().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "a.bin")
    torch.save(state, tmp_path / "a.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "b.pt")
    for name in ("a.safetensors", "a.bin", "a.pth", "b.pt"):
        found = weights.read(tmp_path / name)
        assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in state.items()}, name


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_read_refuses_a_pickle_and_does_not_run_it(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save(net(), tmp_path / "whole.pth")
    for name in ("evil.pth", "whole.pth"):
        with pytest.raises(ModelError, match=f"{name}.*(could run code|can't be read)"):
            weights.read(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_read_says_so_when_the_file_is_damaged(tmp_path, name):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(net().state_dict(), path)
    else:
        save_file(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match=name):
        weights.read(path)


def test_read_refuses_what_is_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no state dict"):
        weights.read(tmp_path / "list.pth")


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


def test_fit_names_the_first_few_only_when_there_are_many():
    with pytest.raises(ModelError, match=r"7 missing: .*, \.\.\.") as raised:
        weights.fit(nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(7))), {}, "w")
    assert "6.weight" not in str(raised.value)


def test_fit_loads_everything_and_does_without_batch_counters():
    state, model = net().state_dict(), net()
    del state["1.num_batches_tracked"]
    weights.fit(model, state, "w")
    assert torch.equal(model[0].weight, state["0.weight"])


def test_fit_takes_the_old_keys_of_densenet():
    block = nn.ModuleDict({"norm1": nn.BatchNorm2d(2)})
    model = nn.ModuleDict({"denselayer1": block})
    state = {k.replace("norm1", "norm.1"): v + 1 for k, v in model.state_dict().items()}
    weights.fit(model, state, "w")
    assert block["norm1"].weight.tolist() == [2, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_load_names_the_tensor_when_a_value_is_not_finite(tmp_path, bad):
    state = net().state_dict()
    state["0.bias"][1] = bad
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(ModelError, match="tensor '0.bias' has 1 value"):
        weights.load(tmp_path / "bad.safetensors", None, Silent())


def test_load_names_the_nearest_when_torchvision_has_no_such_weights():
    with pytest.raises(UsageError, match="did you mean 'IMAGENET1K_V2'"):
        weights.load("IMAGENET1KV2", "resnet50", Silent())


@pytest.mark.parametrize("given", ["missing.safetensors", "folder/weights", "DEFAULT"])
def test_load_says_so_when_the_file_is_missing(given):
    with pytest.raises(ModelError, match="no such file"):
        weights.load(given, None if given == "DEFAULT" else "resnet50", Silent())


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if "absent" in self.path else 200)
            self.send_header("Content-Length", "10" if "short" in self.path else "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            return None

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_download_keeps_the_file_when_its_digest_is_the_stated_one(server, tmp_path):
    path = tmp_path / "w-2cf24dba.pth"
    weights._download(f"{server}/w", path, Silent())
    assert path.read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("name", "url", "sentence"),
    [
        ("w-00000000.pth", "w", "not the published file"),
        ("w.pth", "absent", "can't be downloaded.*Not Found"),
        ("w.pth", "short", "broke off"),
    ],
)
def test_download_leaves_nothing_behind_when_it_fails(server, tmp_path, name, url, sentence):
    with pytest.raises(ModelError, match=sentence):
        weights._download(f"{server}/{url}", tmp_path / name, Silent())
    assert list(tmp_path.iterdir()) == []


def test_download_gives_up_when_nobody_answers(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ModelError, match=r"did not answer within 0\.2 s.*WEIGHTS as a file"):
            weights._download(f"http://127.0.0.1:{silent.getsockname()[1]}/w", tmp_path / "w", Silent(), timeout_s=0.2)


def test_download_says_so_when_there_is_no_network(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ModelError, match="can't be downloaded"):
        weights._download(f"http://127.0.0.1:{port}/w", tmp_path / "w", Silent())
