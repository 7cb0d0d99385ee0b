"""Recovery training brings back what pruning took, and never sees a test sample."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from certify.core.errors import DataError, ModelError, UsageError
from compress.models.adaptation import adapt_input
from compress.models.built_model import BuiltModel, ModelSource
from compress.passes.distill import Distill
from compress.passes.structured_prune import StructuredPrune
from compress.training.training import evaluate


def test_student_becomes_better_on_validation_data(model, context):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)  # from the labels alone, at first
    teacher = replace(context, teacher=taught)
    pruned, _ = StructuredPrune(macs=0.4, round_to=2, importance="random").apply(taught, teacher)
    recovered, record = Distill(epochs=4, lr=5e-3, batch=16).apply(pruned, teacher)
    validation = context.data.validation
    before, after = (evaluate(m, validation, context.preprocess).accuracy for m in (pruned, recovered))
    assert after >= 0.9
    assert after >= before
    assert record.done["validation_accuracy"] == pytest.approx(after)
    assert 1 <= record.done["best_epoch"] <= 4
    assert not recovered.training


def test_epochs_are_declined_when_they_do_not_fit_the_time(model, context):
    _, record = Distill(epochs=5000, batch=64).apply(model, replace(context, max_train_time=0.5))
    assert record.done["epochs_done"] < 5000
    assert "time was up" in record.declined[0].why


def test_distill_is_refused_without_a_teacher(model, context):
    with pytest.raises(UsageError, match="teacher"):
        Distill(epochs=1).apply(model, replace(context, teacher=None))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_distill_is_refused_without_samples(model, context, part):
    with pytest.raises(UsageError, match=f"distill needs {part} samples"):
        Distill(epochs=1).apply(model, replace(context, data=replace(context.data, **{part: None})))


def test_student_follows_the_teacher_when_labels_differ(model, context):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    heavy = Distill(epochs=4, lr=5e-3, batch=16, alpha=100)
    torch.manual_seed(5)
    other = type(model)()
    student, _ = heavy.apply(other, replace(context, teacher=taught))
    sample = context.sample(16)
    with torch.no_grad():
        assert torch.equal(student(sample).argmax(1), taught(sample).argmax(1))


@pytest.mark.parametrize("method", ["kd", "dkd", "dist"])
@pytest.mark.parametrize("features", ["none", "hint", "attention"])
def test_every_loss_trains_a_pruned_student(model, context, method, features):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    teacher = replace(context, teacher=taught)
    pruned, _ = StructuredPrune(macs=0.5, round_to=2, importance="random").apply(taught, teacher)
    config = Distill(epochs=4, lr=5e-3, batch=16, method=method, features=features, standardise=method == "kd")
    student, record = config.apply(pruned, teacher)
    assert record.done["validation_accuracy"] > 0.8
    assert not any("adapters" in key for key in student.state_dict())


def test_features_are_refused_when_a_network_has_none(context):
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4)).eval()
    with pytest.raises(ModelError, match="no feature maps of equal size"):
        Distill(epochs=1, features="hint").apply(flat, replace(context, teacher=flat))


def test_another_model_is_the_teacher_when_it_has_weights(model, context, tmp_path, monkeypatch):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    save_file(taught.state_dict(), tmp_path / "teacher.safetensors")
    monkeypatch.setitem(
        sys.modules, "toy_teacher", SimpleNamespace(__spec__=True, tiny=lambda num_classes=4: type(model)())
    )
    place = "toy_teacher:tiny"
    settings = {"epochs": 4, "lr": 5e-3, "batch": 16, "alpha": 100}
    other = Distill(**settings, teacher=place, teacher_weights=str(tmp_path / "teacher.safetensors"))
    torch.manual_seed(5)
    student, record = other.apply(type(model)(), replace(context, teacher=None))
    assert record.done["teacher"] == place
    sample = context.sample(16)
    with torch.no_grad():
        assert (student(sample).argmax(1) == taught(sample).argmax(1)).float().mean() > 0.9
    with pytest.raises(UsageError, match="so it cannot teach; give teacher_weights"):
        Distill(teacher="resnet18").apply(model, context)


def test_teacher_gets_its_own_normalisation_when_it_differs(model, context):
    built = BuiltModel(model, "m", None, True, "", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), input_size=(16, 16))
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (context.preprocess.mean, context.preprocess.std))
    own_mean, own_std = (torch.tensor(v).view(1, 3, 1, 1) for v in (built.mean, built.std))
    small = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        wanted = model((small - own_mean) / own_std)
        found = adapt_input(built, context.preprocess)((images - mean) / std)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_another_architecture_learns_when_one_is_named(model, context):
    config = Distill(epochs=1, student="squeezenet1_1")
    student, record = config.apply(model, context)
    assert type(student).__name__ == "SqueezeNet" and record.done["student"] == "squeezenet1_1"
    assert config.source(None, context) == ModelSource("torchvision.models:squeezenet1_1", {}, 4)
    assert Distill().source(None, context) is None


def test_unlabelled_samples_are_refused_when_they_are_test_samples(model, context, dataset, tmp_path):
    images = np.stack([dataset.test.image(i) for i in range(20)])
    np.savez(tmp_path / "more.npz", x=images, y=np.arange(20) % 4)
    spec = f"npz:{tmp_path / 'more.npz'}"
    config = Distill(epochs=1, unlabelled=spec)
    _, record = config.apply(model, context)
    assert record.changed
    seen = replace(context, test_digests=frozenset(dataset.test.digests()))
    with pytest.raises(DataError, match="are test samples"):
        config.apply(model, seen)
