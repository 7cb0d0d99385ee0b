"""Training on attacked images, on blobs that a small network learns in seconds."""

from __future__ import annotations

import pytest
import torch

from certify.core.errors import UsageError
from certify.data import TokenPreprocess, default_preprocess
from compress.core.samples import as_tensor
from compress.passes.distill import Distill
from compress.training.adversary import Adversary, robust_accuracy


@pytest.fixture
def contract(dataset):
    return default_preprocess(dataset)


def test_attack_stays_within_the_change_and_the_pixel_range(dataset, contract, model) -> None:
    adversary = Adversary.of("pgd", 3, 4.0, contract)
    images = as_tensor(contract.batch(dataset.validation, range(8)))
    model.eval()
    moved = adversary.attack(images, lambda at: model(at).square().sum())
    grey = (moved - images).abs() * torch.tensor(contract.std).view(1, 3, 1, 1) * contract.scale
    assert 1 < float(grey.max()) <= 4.001
    assert (moved >= adversary.low - 1e-6).all() and (moved <= adversary.high + 1e-6).all()


def test_attack_raises_the_loss_when_it_has_gradients(dataset, contract, model) -> None:
    adversary = Adversary.of("pgd", 5, 8.0, contract)
    images = as_tensor(contract.batch(dataset.validation, range(8)))
    labels = torch.from_numpy(dataset.validation.labels[:8])
    model.eval()

    def loss(at: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(at), labels)

    moved = adversary.attack(images, loss)
    with torch.no_grad():
        assert float(loss(moved)) > float(loss(images))


@pytest.mark.parametrize("kind", ["pgd", "free"])
def test_distill_reports_clean_and_robust_accuracy_when_it_trains_on_attacks(kind: str, context, model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained, record = Distill(epochs=1, adversarial=kind, adversarial_steps=2).apply(model, context)
    assert record.done["adversarial"] == kind
    assert 0 <= record.done["robust_accuracy_at_most"] <= record.done["clean_accuracy"] <= 1
    assert not trained.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_distill_records_no_attack_when_none_is_requested(context, model) -> None:
    _, record = Distill(epochs=1).apply(model, context)
    assert "robust_accuracy_at_most" not in record.done


def test_robust_accuracy_falls_when_the_change_grows(context, dataset, contract, model) -> None:
    trained, _ = Distill(epochs=2).apply(model, context)
    found = [robust_accuracy(trained, dataset.validation, contract, eps, 5) for eps in (0.01, 60.0)]
    assert found[0][0] == found[1][0] and found[1][1] < found[0][1] <= found[0][0]


def test_adversary_refuses_a_model_that_takes_no_images() -> None:
    contract = object.__new__(TokenPreprocess)
    with pytest.raises(UsageError, match="needs a model that takes images"):
        Adversary.of("pgd", 3, 2.0, contract)
