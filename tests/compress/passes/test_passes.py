"""What holds of every registered pass, and how passes are registered."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch
from click.testing import CliRunner

from certify.core import registry
from certify.core.errors import UsageError
from compress import passes
from compress.cli.passes import command
from compress.job import recipe
from compress.passes import PassData
from compress.passes.finetune import Finetune
from compress.passes.structured_prune import StructuredPrune
from compress.testing import check_pass

EVERY = pytest.mark.parametrize("name", passes.names())


class Louder(Finetune):
    """A pass of somebody else's."""

    name = "louder"


class Impostor(Finetune):
    """A pass that bears the name of another."""


class Climber(Finetune):
    """A pass whose name would leave the folder."""

    name = "../climber"


@pytest.fixture
def installed(monkeypatch):
    """Registers passes as installed packages do."""

    def install(**places):
        points = [EntryPoint(name, value, "leanmark.passes") for name, value in places.items()]
        monkeypatch.delattr(passes.PASSES, "_installed")
        monkeypatch.setattr(registry, "_entry_points", lambda group: points if group == "leanmark.passes" else [])

    return install


@EVERY
def test_pass_passes_the_battery(name):
    check_pass(passes.find(name))


@EVERY
def test_bad_config_is_refused_with_one_sentence_when_a_recipe_has_it(name):
    with pytest.raises(UsageError) as error:
        recipe.parse(f"passes:\n  - {name}:\n      no_such_parameter: 1\n", "r.yaml")
    assert str(error.value).count("\n") == 0
    assert "no_such_parameter" in str(error.value)


def test_view_of_the_data_has_no_test_part(dataset):
    view = PassData.without_test(dataset)
    assert not hasattr(view, "test")
    assert all(value is not dataset.test for value in vars(view).values())


def test_missing_part_is_named(dataset):
    view = PassData.without_test(replace(dataset, train=None))
    with pytest.raises(UsageError, match="distill needs train samples"):
        view.part("train", "distill")


def test_unknown_pass_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'distill'"):
        passes.find("distil")


def test_pass_is_found_when_a_package_registers_it(installed):
    installed(louder=f"{__name__}:Louder")
    assert passes.find("louder") is Louder
    assert passes.names()[-1] == "louder"
    assert passes.describe("louder")[0] == "A pass of somebody else's."


def test_pass_is_found_when_a_recipe_names_its_module():
    chosen = recipe.parse(f"passes:\n  - {__name__}:Louder:\n      epochs: 2\n", "r.yaml")
    assert chosen.passes == (Louder(epochs=2),)
    assert next(iter(chosen.to_json()["passes"][0])) == f"{__name__}:Louder"  # so that it can be fed back


def test_own_pass_is_kept_when_a_package_registers_its_name(installed):
    installed(finetune=f"{__name__}:Louder")
    assert passes.find("finetune") is Finetune
    _, unusable = passes.PASSES.survey(passes.find)
    assert "'finetune' is built in" in unusable[f"{__name__}:Louder"]


def test_module_is_named_when_an_unregistered_pass_has_the_name_of_another():
    with pytest.raises(UsageError, match=r":Impostor has the name 'finetune' of compress\.passes\.finetune:Finetune"):
        passes.find(f"{__name__}:Impostor")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("json:JSONDecoder", "is not a pass"),
        (f"{__name__}:Louder", "calls itself 'louder'"),
        (f"{__name__}:Climber", "lower-case letters"),
    ],
)
def test_pass_is_refused_when_it_is_registered_as_something_else(installed, place, words):
    name = "../climber" if place.endswith("Climber") else "other"
    installed(**{name: place})
    with pytest.raises(UsageError, match=words):
        passes.find(name)


@pytest.mark.parametrize("place", ["compress.passes.lost:Lost", "compress.passes.distill:Absent"])
def test_registered_pass_is_refused_when_it_cannot_be_imported(installed, place):
    installed(lost=place)
    with pytest.raises(UsageError, match="pass 'lost' of an installed package cannot be used .*fix or uninstall"):
        passes.find("lost")


def test_passes_lists_the_others_and_the_reason_when_one_is_broken(installed):
    installed(lost="compress.passes.lost:Lost", louder=f"{__name__}:Louder")
    shown = CliRunner().invoke(command, [])
    assert shown.exit_code == 0 and "louder" in shown.output and "structured_prune" in shown.output
    assert "pass 'lost' of an installed package cannot be used" in shown.output


def test_third_party_importance_is_used_when_a_recipe_names_it(model, context):
    pruned, record = StructuredPrune(importance=f"{__name__}:last_first", round_to=4).apply(model, context)
    assert record.changed
    assert (pruned.head.weight == model.head.weight[:, : pruned.head.in_features]).all()


def test_unknown_importance_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'magnitude_l2'"):
        StructuredPrune(importance="magnitude_l")


def last_first():
    """Importance that falls with the number of a channel."""

    def score(group):
        return -torch.arange(len(group[0].idxs), dtype=torch.float32)

    return score
