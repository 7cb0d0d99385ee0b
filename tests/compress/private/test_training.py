"""Gradients of single records, and noisy training through a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import DataError, LeanmarkError, MissingExtra, ModelError, UsageError
from certify.data import default_preprocess
from compress.core.context import PassContext, PassData
from compress.core.targets import TARGETS
from compress.passes.dp_finetune import DpFinetune
from compress.passes.dp_head import DpHead
from compress.passes.pate_distill import PateDistill
from compress.private import per_sample, training
from compress.private.account import PRIVATE, Account
from compress.private.teachers import Vote, answer, parts_of, require_disjoint
from compress.testing.networks import blobs, network

DATA = blobs()
SAMPLES, LABELS = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0, 1])
needs_opacus = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("opacus") is None, reason="the extra privacy is not installed"
)


@pytest.fixture
def context(tmp_path: Path) -> PassContext:
    return PassContext(PassData.without_test(DATA), default_preprocess(DATA), TARGETS["cpu-vnni"], workspace=tmp_path)


@needs_opacus
@pytest.mark.parametrize("name", ["depthwise", "attention"])
def test_gradients_per_sample_match_a_loop(name: str) -> None:
    model = network(name).train()
    assert per_sample.gradient_error(model, SAMPLES, LABELS) < 1e-5
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())


@needs_opacus
def test_training_is_refused_when_gradients_do_not_match_a_loop(
    context: PassContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = per_sample.gradients
    monkeypatch.setattr(per_sample, "gradients", lambda *given: 1.001 * right(*given))
    with pytest.raises(ModelError, match="nothing was trained"):
        DpFinetune(steps=2, delta=1e-3).apply(network("depthwise"), context)


@needs_opacus
def test_missing_noise_is_detected_by_the_whole_pass(context: PassContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "gaussian", lambda *shape: np.zeros(shape))
    with pytest.raises(ModelError, match="do not contain it"):
        DpFinetune(steps=2, delta=1e-3).apply(network("depthwise"), context)


@needs_opacus
def test_record_has_a_size_for_each_step_and_only_requested_layers_change(context: PassContext) -> None:
    model = network("depthwise")
    trained, record = DpFinetune(steps=4, delta=1e-3, layers="head").apply(model, context)
    account = Account.from_json(record.done[PRIVATE])
    assert account.sgd is not None and len(account.sizes) == account.sgd.steps == 4
    assert Account.from_json(account.to_json()) == account and record.done["epsilon"] <= 8
    assert torch.equal(trained.stem.weight, model.stem.weight) and not torch.equal(
        trained.head.weight, model.head.weight
    )
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_missing_extra_is_named(context: PassContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opacus", None)
    with pytest.raises(MissingExtra, match="privacy"):
        DpFinetune(steps=2, delta=1e-3).apply(network("depthwise"), context)


class Convolved(nn.Module):
    """A model that does not end in a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 4)."""
        return self.head(x).mean((2, 3))


SENTENCES: dict[str, tuple[object, nn.Module, type[LeanmarkError], str]] = {
    "delta": (DpHead(delta=0.01), network("residual"), UsageError, r"delta 0.01 is not below 1/128"),
    "delta of votes": (PateDistill(delta=0.01), network("residual"), UsageError, r"not below 1/128"),
    "noise": (DpHead(epsilon=0.01, delta=1e-3), network("residual"), UsageError, "use fewer steps, a larger batch"),
    "norms": (DpFinetune(delta=1e-3), network("residual"), UsageError, "put fold_norms before"),
    "layers": (DpFinetune(delta=1e-3, layers="tail"), network("depthwise"), UsageError, "begins with 'tail'"),
    "no linear head": (DpHead(delta=1e-3), Convolved().eval(), ModelError, "use dp_finetune"),
    "caps": (PateDistill(delta=1e-3, epsilon=0.5), network("residual"), UsageError, "more than the allowed 0.5"),
    "teachers": (PateDistill(delta=1e-3, teachers=100), network("residual"), UsageError, "too many for 128 samples"),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_bad_input_is_refused_in_one_sentence(what: str, context: PassContext) -> None:
    applied, model, kind, sentence = SENTENCES[what]
    with pytest.raises(kind, match=sentence) as error:
        applied.apply(model, context)  # type: ignore[attr-defined]
    assert str(error.value).count(". ") == 0


def test_public_samples_that_are_private_are_refused(context: PassContext) -> None:
    shared = replace(context, data=replace(context.data, validation=context.data.train))
    with pytest.raises(DataError, match="128 of the public samples of 'validation' are train samples"):
        PateDistill(delta=1e-3, teachers=3).apply(network("residual"), shared)


def test_parts_are_disjoint_and_removing_a_record_changes_only_one() -> None:
    split = DATA.train
    assert split is not None
    parts = parts_of(split, 4)
    require_disjoint(parts)
    assert sorted(np.concatenate(parts)) == list(range(len(split)))
    fewer = parts_of(split.subset(np.arange(1, len(split))), 4)
    assert sum(map(len, fewer)) == len(split) - 1
    assert all(set(few + 1) <= set(whole) for few, whole in zip(fewer, parts, strict=True))


def test_overlapping_parts_are_refused() -> None:
    with pytest.raises(UsageError, match="share 1 samples"):
        require_disjoint([np.array([0, 1]), np.array([1, 2])])


def test_answers_stop_at_the_cap_and_need_agreement() -> None:
    counts = np.tile(np.array([100, 0, 0]), (50, 1))
    asked, answers = answer(counts, Vote(0.1, 10, None, None, 50))
    assert asked.tolist() == list(range(10)) and set(answers) == {0}
    assert not len(answer(counts, Vote(0.1, 10, 150.0, 0.1, 50))[0])
    assert len(answer(counts, Vote(0.1, 40, 50.0, 0.1, 20))[0]) == 20


def test_more_answers_than_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be more than queries"):
        PateDistill(answers=20, queries=10)


def test_record_of_votes_holds_no_counts(context: PassContext) -> None:
    _, record = PateDistill(**PateDistill.tags.quick).apply(network("residual"), context)
    votes = record.done[PRIVATE]["votes"]
    assert record.done["answered"] <= votes["answers"] == 30 and votes["caps_fixed_before"]
    assert set(record.done) == {"mechanism", "answered", "epsilon", PRIVATE}
    assert "counts" not in str(record.done) and record.done["epsilon"] == PateDistill(**PateDistill.tags.quick).cost()
