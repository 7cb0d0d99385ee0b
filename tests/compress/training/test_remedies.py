"""Remedies for groups: the effect of each, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import DataError, ModelError, UsageError
from certify.data import default_preprocess, load
from certify.data.array_contract import as_given
from compress.core.callbacks import TrainingCallback
from compress.passes.distill import Distill
from compress.training import epochs
from compress.training.data import loader
from compress.training.remedies import Attribute, Representation, WorstGroup, _Reverse, balancing_weights, probe
from compress.training.task import UNLABELLED
from compress.training.training import TrainingConfig, outputs, train


def people(seed=0, shares=(0.4, 0.1, 0.1, 0.4)):
    """Two inputs: the first predicts the label, the second the group; label and group are correlated."""
    random = np.random.default_rng(seed)
    parts = {}
    for part, count in (("train", 600), ("validation", 200), ("test", 500)):
        cells = random.choice(4, count, p=shares)
        y, group = cells // 2, cells % 2
        x = np.stack([y + random.normal(0, 0.6, count), group + random.normal(0, 0.15, count)], 1)
        parts[part] = {"x": x.astype(np.float32), "y": y, "groups": {"sex": np.where(group, "f", "m")}}
    return load(parts)


@pytest.fixture(scope="module")
def dataset():
    return people()


@pytest.fixture
def contract(dataset):
    return as_given(dataset)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))


def trained(dataset, contract, **settings):
    model = network()
    config = TrainingConfig(epochs=8, batch=32, lr=1e-2, label_smoothing=0.0, keep="last", **settings)
    train(model, dataset, contract, config)
    return model


def worst_accuracy(model, dataset, contract):
    right = outputs(model, dataset.test, contract).argmax(1).numpy() == dataset.test.labels
    cells = dataset.test.labels * 2 + (dataset.test.groups["sex"] == "f")
    return min(right[cells == cell].mean() for cell in range(4))


def test_labels_and_groups_are_separated_when_joined(dataset):
    attribute = Attribute.of(dataset.train, "sex")
    rows = np.arange(50)
    labels = torch.from_numpy(dataset.train.labels[:50])
    apart, groups = attribute.separate(attribute.join(labels, rows))
    assert torch.equal(apart, labels) and attribute.names == ("f", "m")
    assert [attribute.names[group] for group in groups] == dataset.train.groups["sex"][:50].tolist()
    assert [part.tolist() for part in attribute.separate(torch.tensor([UNLABELLED]))] == [[UNLABELLED], [-1]]


def test_balancing_weights_give_every_cell_the_same_share():
    random = np.random.default_rng(1)
    labels, groups = random.integers(0, 3, 200), random.integers(0, 2, 200) ** 3
    weights = balancing_weights(labels, groups)
    shares = [weights[(labels == y) & (groups == g)].sum() for y in range(3) for g in range(2)]
    assert np.allclose(shares, 1 / 6)


def test_loader_draws_cells_equally_when_it_balances(dataset, contract):
    attribute = Attribute.of(dataset.train, "sex")
    batches = loader(dataset.train, contract, 32, shuffle=True, seed=0, attribute=attribute, balance=True)
    cells = torch.cat([labels for _ in range(10) for _, labels in batches])
    shares = torch.bincount(cells, minlength=4) / len(cells)
    assert len(cells) == 10 * len(dataset.train) and torch.allclose(shares, torch.full((4,), 0.25), atol=0.02)


def test_worst_group_gains_weight_and_unlabelled_samples_do_not_count():
    worst = WorstGroup(2)
    losses, groups = torch.tensor([4.0, 0.0, 9.0]), torch.tensor([0, 1, -1])
    raised = 0.5 * np.exp(0.04) / (0.5 * np.exp(0.04) + 0.5)
    assert float(worst(losses, groups)) == pytest.approx(4 * raised, abs=1e-6)
    assert worst.weights.tolist() == pytest.approx([raised, 1 - raised])
    worst.eval()
    worst(losses, groups)
    assert worst.weights.tolist() == pytest.approx([raised, 1 - raised])


def test_gradient_is_reversed_and_scaled():
    values = torch.ones(3, requires_grad=True)
    _Reverse.apply(values, 2.0).sum().backward()
    assert values.grad.tolist() == [-2.0, -2.0, -2.0]


def test_attribute_is_predicted_less_accurately_when_it_was_to_be_forgotten(dataset, contract):
    told = [
        probe(trained(dataset, contract, **settings), dataset.train, dataset.validation, contract, "sex")
        for settings in ({}, {"forget": "sex", "forget_strength": 3.0})
    ]
    assert told[0]["balanced_accuracy"] > 0.97 and told[1]["balanced_accuracy"] < 0.9
    assert told[0]["chance"] == 0.5


def test_worst_cell_gains_when_cells_are_balanced(contract):
    skewed = people(shares=(0.48, 0.02, 0.02, 0.48))
    plain, treated = (trained(skewed, contract, **settings) for settings in ({}, {"balance": "sex"}))
    assert worst_accuracy(treated, skewed, contract) - worst_accuracy(plain, skewed, contract) > 0.1


def divided(seed=0):
    """One input, with a label threshold of 1 for nineteen in twenty samples, and of -1 for the others.

    The network cannot see the group: a threshold near 1 minimises the mean loss, and one near 0 the worst group's.
    """
    random = np.random.default_rng(seed)
    parts = {}
    for part, count in (("train", 2000), ("validation", 200), ("test", 2000)):
        few = np.arange(count) % 20 == 0
        x = random.normal(0, 1, (count, 2)) * [1, 0]
        y = (x[:, 0] > np.where(few, -1, 1)).astype(np.int64)
        parts[part] = {"x": x.astype(np.float32), "y": y, "groups": {"sex": np.where(few, "f", "m")}}
    return load(parts)


def test_worst_group_gains_when_groups_have_different_thresholds():
    data = divided()
    contract = as_given(data)
    plain, treated = (trained(data, contract, **settings) for settings in ({}, {"worst_group": "sex"}))
    worst = [min(group_accuracy(model, data, contract).values()) for model in (plain, treated)]
    assert worst[1] - worst[0] > 0.1


def group_accuracy(model, dataset, contract):
    right = outputs(model, dataset.test, contract).argmax(1).numpy() == dataset.test.labels
    return {name: right[dataset.test.groups["sex"] == name].mean() for name in ("f", "m")}


@pytest.fixture
def groups_seen(monkeypatch):
    """The groups of each batch whose loss was weighted."""
    seen, forward = [], WorstGroup.forward

    def watched(self, losses, groups):
        seen.append(groups.clone())
        return forward(self, losses, groups)

    monkeypatch.setattr(WorstGroup, "forward", watched)
    return seen


def test_remedies_apply_when_unlabelled_samples_are_mixed_in(dataset, contract, groups_seen):
    config = TrainingConfig(epochs=1, batch=100, worst_group="sex", balance="sex")
    train(network(), dataset, contract, config, teacher=network(1), unlabelled=dataset.validation)
    shares = torch.bincount(torch.cat(groups_seen) + 1, minlength=3) / sum(map(len, groups_seen))
    assert shares.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.05)  # unlabelled, and two balanced groups
    assert len(groups_seen) == 6


@pytest.mark.parametrize(("adversarial", "losses"), [("pgd", 2), ("free", 4)])
def test_remedies_apply_when_images_are_attacked(adversarial, losses, groups_seen):
    random = np.random.default_rng(0)
    part = {"x": random.integers(0, 256, (64, 8, 8), np.uint8), "y": np.arange(64) % 2}
    part["groups"] = {"sex": np.where(np.arange(64) % 4 < 2, "f", "m")}
    images = load({"train": part, "validation": {**part, "x": part["x"][::-1]}, "test": part})
    config = TrainingConfig(epochs=1, batch=32, worst_group="sex", adversarial=adversarial, adversarial_steps=2)
    preprocess = default_preprocess(images)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * preprocess.height * preprocess.width, 2))
    train(model, images, preprocess, config)
    assert len(groups_seen) == losses
    every = np.unique(images.train.groups["sex"], return_counts=True)[1]  # of the two batches of an epoch
    assert torch.bincount(torch.cat(groups_seen)).tolist() == (every * losses // 2).tolist()


def test_remedies_keep_their_state_when_a_training_resumes(dataset, contract, tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "KEPT_AFTER_S", 0.0)
    settings = TrainingConfig(epochs=3, batch=32, label_smoothing=0.0, worst_group="sex", forget="sex", keep="last")

    def stop(description, epoch, figures):
        if epoch == 2:
            raise KeyboardInterrupt

    whole, stopped = network(), network()
    train(whole, dataset, contract, settings)
    callback = TrainingCallback()
    callback.on_epoch_end = stop
    with pytest.raises(KeyboardInterrupt):
        train(stopped, dataset, contract, settings, callbacks=[callback], resume=tmp_path / "state")
    resumed = network()
    train(resumed, dataset, contract, settings, resume=tmp_path / "state")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_distill_records_its_remedies_and_the_probe(dataset, contract, tmp_path):
    import compress

    teacher = trained(dataset, contract)
    distill = Distill(epochs=2, forget="sex", balance="sex")
    _, record = compress.apply(distill, teacher, data=dataset, preprocess=contract, progress=False)
    assert record.done["balance"] == "sex" and record.done["probe"]["column"] == "sex"
    probing = Distill(epochs=1, probe="sex")
    _, probed = compress.apply(probing, teacher, data=dataset, preprocess=contract, progress=False)
    assert probed.done["probe"]["balanced_accuracy"] > 0.97 and "forget" not in probed.done
    _, plain = compress.apply(Distill(epochs=1), teacher, data=dataset, preprocess=contract, progress=False)
    assert not {"probe", "balance", "forget"} & set(plain.done)


def test_column_is_refused_when_the_data_lack_it(dataset):
    with pytest.raises(UsageError, match="'sexx'"):
        Attribute.of(dataset.train, "sexx")


def test_column_is_refused_when_all_samples_are_of_one_group():
    with pytest.raises(DataError, match="at least two groups"):
        Attribute.of(people(shares=(0.5, 0.0, 0.5, 0.0)).train, "sex")


def test_two_columns_are_refused():
    with pytest.raises(ValueError, match="one column"):
        Distill(forget="sex", balance="race")
    with pytest.raises(UsageError, match="same column"):
        TrainingConfig(forget="sex", balance="race")


def test_forgetting_is_refused_when_there_is_no_linear_layer():
    with pytest.raises(ModelError, match="linear layer"):
        Representation(nn.Conv2d(3, 4, 1))
