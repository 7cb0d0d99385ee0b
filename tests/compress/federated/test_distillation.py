"""Clients send what they say of public samples, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import DataError
from certify.core.federation import parse_run
from certify.core.federation.consistency import CHECKS, problems
from certify.data import default_preprocess
from compress.core.context import PassContext, PassData
from compress.core.model_stats import state_digest
from compress.core.targets import TARGETS
from compress.federated.distillation import Distiller, Teaching, teach
from compress.federated.public_samples import PublicSamples
from compress.passes.federated_distill import FederatedDistill
from compress.testing.networks import blobs
from compress.training.training import evaluate
from tests.compress.federated.conftest import small_model

DATA = blobs()
TRIED = FederatedDistill(clients=4, epochs=10, batch=16, lr=0.02, public_epochs=30, public_lr=0.02, augment=False)


@pytest.fixture
def context(tmp_path: Path) -> PassContext:
    return PassContext(PassData.without_test(DATA), default_preprocess(DATA), TARGETS["cpu-vnni"], workspace=tmp_path)


def accuracy(model: nn.Module) -> float:
    return float(evaluate(model, DATA.test, default_preprocess(DATA)).accuracy)


def test_model_learns_from_logits_alone_and_each_client_sends_them_once(context: PassContext, tmp_path: Path) -> None:
    student, record = TRIED.apply(small_model(), context)
    assert accuracy(student) > 0.95 > 0.7 > accuracy(small_model())
    run = parse_run((tmp_path / "0-federation.jsonl").read_bytes(), "the log")
    assert not any(problems(run, name) for name in CHECKS)
    assert [one.message.sent.bytes for one in run.entries] == [48 * 4 * 2] * 4
    assert record.done["bytes_up"] == 4 * 48 * 4 * 2 and run.rounds[0].close.message.model == state_digest(student)


def test_finished_round_is_not_run_again_when_a_job_was_killed_behind_it(
    context: PassContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    quick = TRIED.model_copy(update={"epochs": 1, "public_epochs": 2})
    with monkeypatch.context() as patch:
        patch.setattr("certify.core.federation.RoundLog.end", die)
        with pytest.raises(Killed):
            quick.apply(small_model(), context)
    monkeypatch.setattr(Distiller, "run", die)
    made, _ = quick.apply(small_model(), context)
    run = parse_run((tmp_path / "0-federation.jsonl").read_bytes(), "the log")
    assert run.end is not None and run.end.message.model == state_digest(made)


def test_public_samples_may_not_be_train_samples(context: PassContext) -> None:
    shared = PassData.without_test(DATA)
    mixed = replace(context, data=replace(shared, calibration=shared.train))
    with pytest.raises(DataError, match="are train samples"):
        TRIED.apply(small_model(), mixed)


def test_student_follows_the_logits_and_not_the_labels() -> None:
    samples = torch.randn(64, 3, 32, 32)
    model = small_model()
    wanted = np.zeros((64, 4), dtype=np.float32)
    wanted[:, 2] = 5.0
    teach(model, PublicSamples(samples, "0" * 64), wanted, Teaching(epochs=40, batch=16, lr=0.05), seed=0)
    assert (model(samples).argmax(1) == 2).float().mean() > 0.95
