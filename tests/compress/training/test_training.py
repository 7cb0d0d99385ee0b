from __future__ import annotations

import contextlib
import copy
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import DataError, ModelError, UsageError
from certify.core.progress import Silent
from certify.data import Split, default_preprocess
from compress.training import epochs, training
from compress.training.training import TrainingConfig, evaluate, train

QUICK = TrainingConfig(epochs=3, batch=8, lr=1e-2, label_smoothing=0.0)


@pytest.fixture
def preprocess(dataset):
    return default_preprocess(dataset)


def _state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def _same(first, second):
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_learns_what_can_be_learnt(dataset, preprocess, model, optimizer):
    config = replace(QUICK, optimizer=optimizer, lr=1e-2 if optimizer == "adamw" else 0.05)
    before = evaluate(model, dataset.test, preprocess).accuracy
    result = train(model, dataset, preprocess, config)
    assert before < 0.6 and evaluate(model, dataset.test, preprocess).accuracy > 0.9
    assert result.epochs_done == 3 and not result.stopped_early and result.reason == "all epochs done"
    assert not model.training
    assert result.validation_accuracy == evaluate(model, dataset.validation, preprocess).accuracy


def test_train_is_deterministic_under_a_seed_and_leaves_the_global_generator(dataset, preprocess, model):
    models = [copy.deepcopy(model) for _ in range(3)]
    states = []
    for net, seed in zip(models, (3, 3, 4), strict=True):
        torch.manual_seed(9)
        train(net, dataset, preprocess, replace(QUICK, epochs=1), seed=seed)
        states.append(_state(net))
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(9)))
    assert _same(states[0], states[1]) and not _same(states[0], states[2])


def test_train_keeps_the_best_epoch_by_validation_and_ties_by_loss(dataset, preprocess, model, monkeypatch):
    reached = iter([(0.5, -1.0), (0.9, -0.5), (0.9, -0.4), (0.9, -0.6)])
    seen = []

    def validate(net, *_):
        seen.append(_state(net))
        return next(reached)

    monkeypatch.setattr(training, "_validate", validate)
    result = train(model, dataset, preprocess, replace(QUICK, epochs=4))
    assert (result.best_epoch, result.validation_accuracy) == (3, 0.9)
    assert _same(_state(model), seen[2]) and not _same(_state(model), seen[3])


def test_train_stays_on_the_given_device(dataset, preprocess, model, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "_learn", lambda job, *_: seen.append(job.device))
    train(model, dataset, preprocess, QUICK, device="cuda:1")
    assert seen == ["cuda:1"]


def test_train_never_reads_the_test_part(dataset, preprocess, model):
    class NoTest:
        name, train, validation = dataset.name, dataset.train, dataset.validation

    assert train(model, NoTest(), preprocess, replace(QUICK, epochs=1)).epochs_done == 1


def test_train_stops_after_the_batch_and_keeps_something_when_the_time_is_up(dataset, preprocess, model):
    before = _state(model)
    result = train(model, dataset, preprocess, QUICK, deadline=time.monotonic())
    assert result.stopped_early and result.epochs_done == 0 and result.best_epoch == 1
    assert "time was up after 0 of 3" in result.reason
    assert not _same(before, _state(model))


def test_train_shortens_the_schedule_when_it_would_not_end_in_time(dataset, preprocess, model):
    rates = []
    config = replace(QUICK, epochs=100_000)
    original = training.Run.step

    def step(run, *batch):
        loss = original(run, *batch)
        rates.append(run.optimizer.param_groups[0]["lr"])
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Run, "step", step)
        began = time.monotonic()
        result = train(model, dataset, preprocess, config, deadline=began + 1.5)
    assert time.monotonic() - began < 10 and result.stopped_early
    assert rates[-1] < 0.2 * max(rates)


def test_train_is_the_same_when_the_deadline_is_far_away(dataset, preprocess, model):
    other = copy.deepcopy(model)
    config = replace(QUICK, epochs=2)
    train(model, dataset, preprocess, config)
    train(other, dataset, preprocess, config, deadline=time.monotonic() + 3600)
    assert _same(_state(model), _state(other))


def test_train_follows_the_teacher_without_changing_it(dataset, preprocess, model):
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.head.bias.copy_(torch.tensor([0.0, 3.0, 0.0, 0.0]))  # it holds nearly everything for the second class
    taught = _state(teacher)
    alone, student = copy.deepcopy(model), copy.deepcopy(model)
    train(alone, dataset, preprocess, QUICK)
    train(student, dataset, preprocess, replace(QUICK, temperature=2.0, alpha=100.0), teacher=teacher)
    second = [(evaluate(net, dataset.test, preprocess).top1 == 1).mean() for net in (teacher, alone, student)]
    assert second[0] > 0.9 and second[1] < 0.4 and second[2] > 0.9
    assert _same(taught, _state(teacher)) and all(p.requires_grad for p in teacher.parameters())


class StoppedAfter(Silent):
    """Progress whose bar raises KeyboardInterrupt at the given step, as Ctrl-C would."""

    def __init__(self, steps):
        self.left = steps

    @contextlib.contextmanager
    def task(self, description, total=None):
        yield self

    def advance(self, steps=1, note=""):
        self.left -= steps
        if steps and self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_train_resumes_with_equal_results_when_interrupted(
    dataset, preprocess, model, tmp_path, monkeypatch, optimizer
):
    monkeypatch.setattr(epochs, "KEPT_AFTER_S", 0.0)
    config = replace(QUICK, epochs=4, optimizer=optimizer, lr=5e-3)
    whole, stopped, file = copy.deepcopy(model), copy.deepcopy(model), tmp_path / "run.training"
    first = train(whole, dataset, preprocess, config)
    steps = first.epochs_done * 16
    with pytest.raises(KeyboardInterrupt):
        train(stopped, dataset, preprocess, config, resume=file, progress=StoppedAfter(steps // 2 + 3))
    taken_up = StoppedAfter(steps)
    second = train(again := copy.deepcopy(model), dataset, preprocess, config, resume=file, progress=taken_up)
    assert taken_up.left == 0
    assert _same(_state(whole), _state(again))
    assert (second.best_epoch, second.epochs_done) == (first.best_epoch, first.epochs_done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_train_starts_over_when_the_saved_epoch_is_from_another_training(
    dataset, preprocess, model, tmp_path, monkeypatch, content
):
    monkeypatch.setattr(epochs, "KEPT_AFTER_S", 0.0)
    config, file = replace(QUICK, epochs=2), tmp_path / "run.training"
    whole = copy.deepcopy(model)
    train(whole, dataset, preprocess, config)
    if content is None:
        with pytest.raises(KeyboardInterrupt):
            other = replace(config, lr=5e-3)
            train(copy.deepcopy(model), dataset, preprocess, other, resume=file, progress=StoppedAfter(20))
        assert file.is_file()
    else:
        file.write_bytes(content)
    train(model, dataset, preprocess, config, resume=file)
    assert _same(_state(whole), _state(model)) and not file.exists()


def test_train_keeps_the_last_epoch_when_the_schedule_is_fixed(dataset, preprocess, model, monkeypatch):
    reached = iter([(0.9, -1.0), (0.1, -2.0)])
    monkeypatch.setattr(training, "_validate", lambda *_: next(reached))
    result = train(model, dataset, preprocess, replace(QUICK, epochs=2, keep="last"))
    assert (result.best_epoch, result.validation_accuracy) == (2, 0.1)


def test_train_learns_from_samples_without_labels_by_the_teachers_answers(dataset, preprocess, model):
    teacher = copy.deepcopy(model)
    train(teacher, dataset, preprocess, QUICK)
    few = replace(dataset, train=dataset.train.subset(range(8)))
    wrong = Split(dataset.train._source, (dataset.train.labels + 1) % 4)  # labels that must not be looked at
    alone, helped = copy.deepcopy(model), copy.deepcopy(model)
    config = replace(QUICK, epochs=24, alpha=2.0)
    for student, more in ((alone, None), (helped, wrong)):
        train(student, few, preprocess, config, teacher=teacher, unlabelled=more)
    accuracy = [evaluate(net, dataset.test, preprocess).accuracy for net in (teacher, helped)]
    assert accuracy[0] > 0.9 and accuracy[1] > 0.9
    assert not _same(_state(alone), _state(helped))
    with pytest.raises(UsageError, match="only be learnt from with a teacher"):
        train(alone, few, preprocess, config, unlabelled=wrong)


def test_train_picks_the_columns_of_the_class_map(dataset, preprocess, model):
    wide = copy.deepcopy(model)
    wide.head = nn.Linear(wide.head.in_features, 9)
    mapped = replace(preprocess, class_map=(8, 1, 6, 3))
    result = train(wide, dataset, mapped, QUICK)
    assert result.validation_accuracy > 0.9
    assert evaluate(wide, dataset.test, mapped).accuracy > 0.9
    assert evaluate(wide, dataset.test, preprocess, class_map=(8, 1, 6, 3)).accuracy > 0.9


def test_train_reports_when_the_loss_is_not_finite(dataset, preprocess, model):
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(ModelError, match="loss became nan at step 1"):
        train(model, dataset, preprocess, QUICK)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_train_reports_when_a_part_is_missing(dataset, preprocess, model, part):
    with pytest.raises(DataError, match=f"no {part} part"):
        train(model, replace(dataset, **{part: None}), preprocess, QUICK)


def test_evaluate_does_not_change_mode_and_weights(dataset, preprocess, model):
    model.train()
    before = _state(model)
    scores = evaluate(model, dataset.test, preprocess, batch=7)
    assert model.training and _same(before, _state(model))
    assert np.array_equal(scores.correct, scores.top1 == dataset.test.labels)


def test_evaluate_refuses_outputs_that_are_not_two_dimensional(dataset, preprocess):
    with pytest.raises(ModelError, match="one tensor"):
        evaluate(nn.Identity(), dataset.test, preprocess)


def test_model_that_views_its_feature_maps_is_trained_and_evaluated(dataset, preprocess):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, 4, 1), nn.LazyLinear(len(dataset.classes))

        def forward(self, x):
            maps = self.conv(x).relu()
            return self.head(maps.view(len(x), -1))  # fails on maps whose channels come last

    model = Viewing()
    model(torch.zeros(2, 3, preprocess.height, preprocess.width))
    evaluate(model, dataset.test, preprocess)
    train(model, dataset, preprocess, replace(QUICK, epochs=1))
