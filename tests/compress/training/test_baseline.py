from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from certify.core.errors import DataError
from certify.core.progress import Silent
from certify.data import default_preprocess
from compress.models.built_model import BuiltModel, ModelSource
from compress.training import baseline
from compress.training.baseline import trained_baseline
from compress.training.training import TrainingConfig, evaluate

CONFIG = TrainingConfig(epochs=2, batch=8, lr=1e-2)


class Sentences(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def built(model) -> BuiltModel:
    return BuiltModel(model, "tests:tiny", ModelSource("tests:tiny", {}, 4), False, "random weights, seed 0")


def _make(built, dataset, cache, **options):
    options = {"config": CONFIG, **options}
    return trained_baseline(built, dataset, default_preprocess(dataset), cache=cache, **options)


def test_baseline_is_trained_named_and_kept_for_the_next_run(built, dataset, tmp_path):
    before = {key: value.clone() for key, value in built.model.state_dict().items()}
    model, origin, cached, result = _make(built, dataset, tmp_path)
    assert origin == "trained here on blobs, seed 0, 2 epochs" and not cached and result.epochs_done == 2
    assert all(torch.equal(value, built.model.state_dict()[key]) for key, value in before.items())

    said = Sentences()
    again, same_origin, cached, nothing = _make(built, dataset, tmp_path, progress=said)
    assert cached and nothing is None and same_origin == origin and "earlier run" in said.said[0]
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert evaluate(again, dataset.test, default_preprocess(dataset)).accuracy > 0.9 and not again.training


def test_baseline_is_reused_from_an_earlier_run_when_only_the_test_part_differs(built, dataset, tmp_path):
    _make(built, dataset, tmp_path)
    mended = replace(dataset, test=dataset.test.subset(range(40)))
    assert _make(built, mended, tmp_path)[2]


@pytest.mark.parametrize("change", ["seed", "config", "data", "preprocess", "start"])
def test_baseline_is_trained_again_when_anything_it_depends_on_changes(built, dataset, tmp_path, change):
    _make(built, dataset, tmp_path)
    options, contract = {"config": CONFIG}, default_preprocess(dataset)
    if change == "seed":
        options["seed"] = 1
    elif change == "config":
        options["config"] = replace(CONFIG, lr=1e-3)
    elif change == "data":
        dataset = replace(dataset, train=dataset.train.subset(range(100)))
    elif change == "preprocess":
        contract = replace(contract, mean=(0.5, 0.5, 0.5))
    else:
        with torch.no_grad():
            built.model.head.bias += 1
    assert not trained_baseline(built, dataset, contract, cache=tmp_path, **options)[2]


@pytest.mark.parametrize("spec", ["leaf.nets:tiny", f"hf:/models/{'long ' * 60}", "nets.v2:größe"])
def test_baseline_of_another_seed_is_not_reused_when_the_name_has_dots_or_is_long(built, dataset, tmp_path, spec):
    named = replace(built, spec=spec)
    _make(named, dataset, tmp_path)
    assert not _make(named, dataset, tmp_path, seed=1)[2]
    assert _make(named, dataset, tmp_path)[2] and len(list((tmp_path / "baselines").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_baseline_is_trained_and_not_kept_when_the_cache_cannot_be_written(built, dataset, tmp_path, when, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "before":
        (tmp_path / "baselines").write_bytes(b"a file")
    else:
        monkeypatch.setattr(baseline.weights, "write", full)
    said = Sentences()
    model, _, cached, result = _make(built, dataset, tmp_path, progress=said)
    assert not cached and result.epochs_done == 2 and not model.training
    assert [sentence for sentence in said.said if "is not kept for later jobs: " in sentence] == said.said


def test_baseline_is_trained_again_when_the_kept_file_is_damaged(built, dataset, tmp_path):
    _make(built, dataset, tmp_path)
    (kept,) = tmp_path.rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-9])
    said = Sentences()
    assert not _make(built, dataset, tmp_path, progress=said)[2]
    assert "damaged" in said.said[0]
    assert _make(built, dataset, tmp_path)[2]


def test_baseline_reports_that_it_was_stopped_when_the_time_was_up(built, dataset, tmp_path):
    _, origin, _, result = _make(built, dataset, tmp_path, max_train_time=0.0)
    assert result.stopped_early and origin.endswith("0 epochs (stopped early: the time was up)")


def test_baseline_is_the_original_when_it_came_with_weights_that_fit(built, dataset, tmp_path):
    given = replace(built, pretrained=True, origin="weights from w.safetensors")
    model, origin, cached, result = _make(given, dataset, tmp_path)
    assert (origin, cached, result) == (given.origin, False, None)
    assert torch.equal(model.head.weight, given.model.head.weight) and model is not given.model
    assert list(tmp_path.iterdir()) == []


def test_baseline_is_fine_tuned_when_its_classifier_is_new(built, dataset, tmp_path):
    given = replace(built, pretrained=True, new_head=True, origin="weights from w.safetensors")
    origin = _make(given, dataset, tmp_path)[1]
    assert origin == "weights from w.safetensors, trained here on blobs, seed 0, 2 epochs"


def test_baseline_says_what_is_missing_when_there_is_nothing_to_train_on(built, dataset, tmp_path):
    with pytest.raises(DataError, match="no train and validation parts.*WEIGHTS"):
        _make(built, replace(dataset, train=None), tmp_path)


def test_baseline_keeps_a_network_with_shared_weights(built, dataset, tmp_path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.second = self.first
            self.head = nn.Linear(4 * 64, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.avg_pool2d(self.second(x), 4).flatten(1))

    given = replace(built, model=Tied())
    _make(given, dataset, tmp_path)
    assert _make(given, dataset, tmp_path)[2]
