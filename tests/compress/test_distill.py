"""Recovery training brings back what pruning took, and never sees a test sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from certify.errors import UsageError
from compress.passes.distill import Distill
from compress.passes.structured_prune import StructuredPrune
from compress.training import evaluate


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


def test_epochs_that_did_not_fit_are_declined_when_time_is_short(model, context):
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


def test_teacher_is_what_the_student_follows_when_labels_say_otherwise(model, context):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    heavy = Distill(epochs=4, lr=5e-3, batch=16, alpha=100)
    torch.manual_seed(5)
    other = type(model)()
    student, _ = heavy.apply(other, replace(context, teacher=taught))
    sample = context.sample(16)
    with torch.no_grad():
        assert torch.equal(student(sample).argmax(1), taught(sample).argmax(1))
