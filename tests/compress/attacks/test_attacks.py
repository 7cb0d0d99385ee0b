"""Attacks on blobs: gradients, straight-through rounding, Square, and the command that writes witnesses."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from certify.cli.main import main
from certify.core.errors import UsageError
from certify.data import default_preprocess
from certify.data.contract_slot import normalise
from certify.data.witnesses import WitnessFile
from certify.measure.answers import Answers
from certify.model_file.subject import subject_digests
from certify.workflows.witness_check import Base, check, turned
from compress.attacks import GradientAttack, Hunt, SquareAttack, hunt
from compress.attacks.gradient import margin
from compress.attacks.parent import require_parent
from compress.attacks.pixels import Pixels
from compress.attacks.straight_through import straight_through
from compress.attacks.witness_search import margins, margins_of
from compress.core.samples import as_tensor
from compress.exchange.onnx_export import export
from compress.passes.distill import Distill
from compress.testing.networks import CLASSES


@pytest.fixture(scope="module")
def contract(dataset):
    return default_preprocess(dataset)


@pytest.fixture(scope="module")
def trained(dataset):
    """A network that tells blobs apart."""
    from compress.core.targets import TARGETS
    from compress.passes import PassContext, PassData
    from compress.testing.networks import network

    model = network("residual")
    context = PassContext(PassData.without_test(dataset), default_preprocess(dataset), TARGETS["cpu-vnni"], model)
    made, _ = Distill(epochs=3, alpha=0.0).apply(model, context)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(trained, dataset, contract, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    export(trained, contract, folder / "float.onnx", classes=CLASSES)
    normalise(folder / "float.onnx", folder / "model.onnx", contract)
    return folder / "model.onnx"


@pytest.fixture
def images(dataset) -> tuple[np.ndarray, np.ndarray]:
    test = dataset.test
    count = min(24, len(test))
    return np.stack([test.image(i) for i in range(count)]), test.labels[:count]


def test_pixels_are_fed_as_in_the_contract(trained, dataset, contract, images) -> None:
    grey = torch.from_numpy(images[0]).permute(0, 3, 1, 2).float()
    found, wanted = Pixels(trained, contract)(grey), trained(as_tensor(contract.batch(dataset.test, range(len(grey)))))
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("method", ["fgsm", "pgd", "apgd"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_lower_the_margin_more_than_chance_when_followed(method, shared, trained, contract, images) -> None:
    model = Pixels(trained, contract)
    signs, found = GradientAttack(method, 6, shared=shared).signs(model, *images, 8)
    rng = np.random.default_rng(0)
    chance = rng.choice(np.array([-1, 1]), signs.shape)

    def left(moved: np.ndarray) -> np.ndarray:
        made = np.clip(images[0].astype(int) + 8 * moved, 0, 255).astype(np.float32)
        outputs = model(torch.from_numpy(made).permute(0, 3, 1, 2))
        return margin(outputs, torch.from_numpy(images[1])).numpy()

    assert set(np.unique(signs)) == {-1, 1}
    assert np.allclose(left(signs), found, atol=1e-3)
    assert found.mean() < left(chance).mean()
    assert not shared or (signs[..., :1] == signs).all()


def test_rounded_copy_has_gradients_and_does_not_change_the_model(trained, dataset, contract) -> None:
    samples = as_tensor(contract.batch(dataset.test, range(8)))
    before = trained(samples)
    rounded = straight_through(trained, samples)
    at = samples.clone().requires_grad_(True)
    outputs = rounded(at)
    outputs.sum().backward()
    assert at.grad is not None and float(at.grad.abs().sum()) > 0
    assert torch.equal(trained(samples), before) and not torch.equal(outputs, before)
    assert (outputs - before).abs().max() < 0.2 * before.abs().max()


def test_hunt_writes_only_witnesses_that_hold(trained, dataset, contract, file, tmp_path) -> None:
    model = Pixels(trained, contract)
    attacks = [functools.partial(GradientAttack("pgd", 8, shared=one).signs, model) for one in (True, False)]
    digest = subject_digests(file)["leanmarkContent"]
    with Answers(file, contract, CLASSES) as asked:
        found = hunt(asked, dataset, digest, Hunt("pgd", (4, 16, 48), 40, "a" * 64), attacks)
        path = tmp_path / "w.npz"
        path.write_bytes(found.to_bytes())
        base = Base.of(dataset)
        arm, checked = check(path, base, {"candidate": digest})
        assert arm == "candidate" and not checked.refused and len(checked.sound) >= 5
        assert turned(asked, base, checked.sound).all()
    assert len({one.sample for one in found.witnesses}) == len(found.witnesses)


def test_square_never_increases_a_margin_and_stops_when_done(dataset, contract, file, images) -> None:
    questions = []
    with Answers(file, contract, CLASSES) as asked:
        ask = margins_of(asked, images[1])

        def counted(shown: np.ndarray, places: np.ndarray) -> np.ndarray:
            questions.append(len(shown))
            return ask(shown, places)

        few = SquareAttack(queries=2, seed=1).signs(images[0], 24, counted)[1]
        many = SquareAttack(queries=30, seed=1).signs(images[0], 24, counted)[1]
        signs, again = SquareAttack(queries=30, seed=1).signs(images[0], 24, ask)
        made = np.clip(images[0].astype(int) + 24 * signs, 0, 255).astype(np.uint8)
        assert np.allclose(ask(made, np.arange(len(made))), again, atol=1e-4)
    assert many.mean() < few.mean() and np.array_equal(many, again)
    assert sum(questions[2:]) <= 30 * len(images[0])


def test_margins_are_those_of_the_true_class(dataset, contract, file) -> None:
    with Answers(file, contract, CLASSES) as asked:
        left, scores = margins(asked, dataset.test), asked.scores(dataset.test)
    assert ((left > 0) == scores.correct).all()
    assert np.allclose(np.abs(left[scores.correct]), scores.margin[scores.correct], atol=1e-4)


def test_parent_is_refused_when_its_answers_differ(trained, dataset, contract, file) -> None:
    stranger = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(contract.port_shape(1)[1:])), CLASSES)).eval()
    with Answers(file, contract, CLASSES) as asked:
        assert require_parent(trained, asked, dataset.test) == 1.0
        with pytest.raises(UsageError, match="not the file.s float parent"):
            require_parent(stranger, asked, dataset.test)


def test_command_writes_witnesses_and_reports_what_is_missing(dataset, file, tmp_path) -> None:
    test = dataset.test
    np.savez(tmp_path / "t.npz", x=np.stack([test.image(i) for i in range(len(test))]), y=test.labels)
    shared = ["attack", str(file), "--data", f"npz:test={tmp_path / 't.npz'}", "--out", str(tmp_path / "w.npz")]
    shared += ["--samples", "10", "--eps", "8,48", "--quiet"]
    done = CliRunner().invoke(main, [*shared, "--method", "square", "--queries", "20", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["witnesses"] == len(WitnessFile.read(tmp_path / "w.npz").witnesses)
    done = CliRunner().invoke(main, shared)
    assert done.exit_code == 2 and "--checkpoint" in done.output
    done = CliRunner().invoke(main, [*shared, "--eps", "0.5"])
    assert done.exit_code == 2 and "whole grey levels" in done.output
