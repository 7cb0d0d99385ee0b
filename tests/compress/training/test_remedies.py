"""Remedies for groups: what each one changes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import DataError, ModelError, UsageError
from certify.data import load
from certify.data.given_arrays import as_given
from compress.passes.distill import Distill
from compress.training.data import loader
from compress.training.remedies import Attribute, Representation, WorstGroup, _Reverse, balancing_weights, probe
from compress.training.task import UNLABELLED
from compress.training.training import TrainingConfig, outputs, train


def people(seed=0, shares=(0.4, 0.1, 0.1, 0.4)):
    """Two inputs, the first tells the label and the second the group; label and group mostly go together."""
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


@pytest.mark.parametrize("remedy", ["balance", "worst_group"])
def test_worst_cell_gains_when_groups_are_treated(contract, remedy):
    skewed = people(shares=(0.48, 0.02, 0.02, 0.48))
    plain, treated = (trained(skewed, contract, **settings) for settings in ({}, {remedy: "sex"}))
    gain = worst_accuracy(treated, skewed, contract) - worst_accuracy(plain, skewed, contract)
    assert gain > (0.1 if remedy == "balance" else -0.02)


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
