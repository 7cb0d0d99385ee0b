"""Finding a model's tensors in what trainers save: any prefix, dicts within dicts, other tensors beside them."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from certify.core.errors import ModelError
from compress.models import catalog, weights
from compress.models.weight_keys import matched

STATE = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()


def under(prefix, shift=0):
    return {f"{prefix}{key}": value + shift for key, value in STATE.items()}


SAVED = {
    "as it is": (STATE, None),
    "data parallel": ({"state_dict": under("module."), "epoch": 3}, "state_dict.module.'"),
    "Lightning": (
        {"state_dict": {**under("net."), "criterion.weight": torch.ones(3)}},
        "left out: .*criterion.weight .1 in all",
    ),
    "any key": ({"generator": under(""), "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "generator.'"),
    "deep": ({"run": {"best": {"weights": under("a.b.")}}}, "run.best.weights.a.b.'"),
    "an average beside it": ({"model": under(""), "ema": under("", 1)}, "model.'.*left out: .*ema.0.weight.*7 in all"),
    "torch's average beside it": ({"state_dict": under(""), "state_dict_ema": under("", 1)}, "state_dict.'"),
    "compiled": (under("_orig_mod."), None),
    "compiled inside": ({key.replace("0.", "0._orig_mod."): value for key, value in STATE.items()}, None),
}


@pytest.mark.parametrize("kind", SAVED)
def test_weights_are_found_and_omissions_reported_when_saved_inside_a_larger_object(kind, tmp_path):
    saved, said = SAVED[kind]
    torch.save(saved, tmp_path / "last.ckpt")
    found, taken = matched(weights.read(tmp_path / "last.ckpt"), STATE.keys(), "last.ckpt")
    assert found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)
    assert re.fullmatch("" if said is None else f"7 tensors under '.*{said}.*", taken)


def test_weights_are_refused_when_two_sets_of_them_fit_and_differ():
    with pytest.raises(ModelError, match="holds 2 sets of weights.*'student.', 'teacher.'"):
        matched({**under("student."), **under("teacher.", 1)}, STATE.keys(), "both.pth")
    same, _ = matched({**under("student."), **under("teacher.")}, STATE.keys(), "both.pth")
    assert same.keys() == STATE.keys()


def test_weights_of_another_architecture_are_named_when_a_prefix_is_stripped(tmp_path, monkeypatch):
    (tmp_path / "deeper_net.py").write_text(
        "from torch import nn\ndef make(depth=1):\n"
        "    return nn.Sequential(nn.Flatten(), *(nn.Linear(12, 12) for _ in range(depth)))\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"net.1.weight": torch.eye(12), "net.1.bias": torch.ones(12)}}, "last.ckpt")
    built = catalog.build("deeper_net:make", 12, "last.ckpt")
    assert torch.equal(built.model[1].weight, torch.eye(12))
    with pytest.raises(ModelError, match=r"4 missing: 2.weight, 2.bias, 3.weight"):
        catalog.build("deeper_net:make", 12, "last.ckpt", arguments={"depth": 3})
