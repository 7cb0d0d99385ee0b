"""The whole way on a tiny net: from the question to the certificate of what was found, without a look at the test."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

import compress
from certify.attest.certificate import EVIDENCE_NAME
from certify.cli.main import main
from certify.core.errors import ModelError, UsageError
from certify.core.estimate import Estimate
from certify.core.evidence_file import read_evidence
from certify.core.progress import Silent
from certify.data.dataset import Split
from certify.measure.plan import Plan
from certify.present.statements import measured_claims
from certify.present.wording import searched as searched_among
from compress.job import pipeline, recipe
from compress.job.compression_result import CompressionResult
from compress.search import search as searching
from compress.search.outcome import PLOT, RECIPE, TRIALS
from compress.search.question import Question
from compress.search.steps import RecipeSteps
from compress.search.study import Study
from compress.search.turns import claimed
from compress.search.workers import objective_of
from compress.search.workshop import Workshop

PIXELS = {"mean": [0.5] * 3, "std": [0.5] * 3}
pytestmark = pytest.mark.usefixtures("hasty")
QUICK = Plan(window_s=0.05, time_limit_s=0.01, wanted_half_width=0.9, min_blocks=2, threads=1, yardstick=False)
WIDE = 60.0
"""A bound that 48 validation samples can show."""


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp(name)))


class Unread(Split):
    """A part whose samples and labels nobody may look at; their digests alone are compared with other parts'."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.targets = None

    def __len__(self) -> int:
        return len(self._split)

    @property
    def labels(self):
        raise AssertionError("the labels of the test part were read")

    @property
    def kind(self):
        return self._split.kind

    def image(self, i):
        raise AssertionError("a test sample was read")

    def digest(self, i):
        return self._split.digest(i)

    def scaled(self, scale):
        return self


@pytest.fixture
def unread(dataset):
    made = dataclasses.replace(dataset)
    object.__setattr__(made, "test", Unread(dataset.test))
    return made


def asked(model, dataset, out, **changed) -> Question:
    given = {"max_loss_percent": WIDE, "objective": "bytes", "trials": 3, "max_epochs": 0, "preprocess": PIXELS}
    return Question(model, dataset, out=out, plan=QUICK, **{**given, **changed})


def test_recipe_is_found_and_written_without_reading_the_test_part(model, unread, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "load", None)  # the job that certifies is another test's
    found = searching._search(asked(model, unread, tmp_path), 1, Silent())
    assert len(found.trials) == 3
    assert found.best.cost.value < 0.5
    written = recipe.load(tmp_path / RECIPE)
    assert written.passes == found.recipe.passes
    assert yaml.safe_load((tmp_path / RECIPE).read_text())["budget"]["max_loss_percent"] == WIDE
    assert "<svg" in (tmp_path / PLOT).read_text() and "bytes" in (tmp_path / PLOT).read_text()
    kept = json.loads((tmp_path / TRIALS).read_text())
    assert kept["best"] == found.best.number and len(kept["trials"]) == 3


def test_recipe_is_found_when_several_processes_search(model, dataset, tmp_path):
    found = searching._search(asked(model, dataset, tmp_path), 2, Silent())
    assert len(found.trials) == 3
    assert found.best.cost.value < 0.5


def test_processes_work_on_the_study_of_their_parent(model, dataset, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(searching, "work_apart", lambda target, question, *_: given.append(question))
    question = asked(model, dataset, tmp_path)
    searching._search(question, 2, Silent())
    workshop = Workshop(question)
    assert given[0].study == Study(question, workshop.space, workshop.job).name


def test_original_is_made_in_a_turn_by_one_process_at_a_time(model, dataset, tmp_path, monkeypatch):
    class CheckedError(Exception):
        pass

    def check(workshop):
        with claimed(tmp_path / ".search" / "original.lock") as free:
            assert not free
        assert taken == ["working"]
        raise CheckedError

    taken = []
    monkeypatch.setattr(searching.Turns, "working", lambda _: taken.append("working") or contextlib.nullcontext())
    monkeypatch.setattr(Workshop, "check", check)
    with pytest.raises(CheckedError):
        searching._search(asked(model, dataset, tmp_path), 1, Silent())


@pytest.mark.parametrize(("then", "turn"), [("certify", "measuring"), ("make", "working")])
def test_result_is_measured_alone(searched, monkeypatch, tmp_path, then, turn):
    study, taken = searched(trials=4), []
    result = searching.SearchResult(
        tuple(study.trials()), study.best(), study.recipe(study.best(), "best"), "energy", 1.0, {}
    )

    def carry_out(*_, **how):
        assert taken == [turn] and how["measure"] is (then == "certify")
        return SimpleNamespace(files={}, to_json=dict)

    for name in ("measuring", "working"):
        monkeypatch.setattr(searching.Turns, name, lambda _, name=name: taken.append(name) or contextlib.nullcontext())
    monkeypatch.setattr(searching, "_search", lambda *_: result)
    monkeypatch.setattr(searching, "_carry_out", carry_out)
    found = compress.search_recipe("numbers", "none", max_loss=1.0, out=tmp_path, then=then, progress=False)
    assert found.job is not None and taken == [turn]


@pytest.mark.parametrize("storage", [None, "postgresql://host/name"])
def test_machines_share_the_original_when_they_share_the_study(searched, monkeypatch, tmp_path, storage):
    given = []
    monkeypatch.setattr(
        searching, "_search", lambda question, *_: given.append(question) or SimpleNamespace(recipe=None)
    )
    compress.search_recipe("numbers", "none", max_loss=1.0, out=tmp_path, storage=storage, progress=False)
    assert given[0].cache == (tmp_path / ".search" / "cache" if storage else None)


def test_bytes_are_counted_without_a_turn(model, dataset, tmp_path):
    for objective, is_counted in (("bytes", True), ("energy", False)):
        workshop = Workshop(asked(model, dataset, tmp_path, objective=objective))
        found = objective_of(workshop._question, workshop)
        assert (found.measure == workshop.cost) is is_counted


def test_result_is_made_once_when_another_process_makes_it(bench, searched, monkeypatch, tmp_path):
    study = searched(trials=4)
    result = searching.SearchResult(
        tuple(study.trials()), study.best(), study.recipe(study.best(), "best"), "energy", 1.0, {}
    )
    monkeypatch.setattr(searching, "_search", lambda *_: result)
    monkeypatch.setattr(searching, "_carry_out", None)
    with claimed(tmp_path / ".search" / "result.lock") as ours:
        assert ours
        assert compress.search_recipe("numbers", "none", max_loss=1.0, out=tmp_path, progress=False) is result


def test_common_prefix_is_run_once_when_recipes_share_it(model, dataset, tmp_path, monkeypatch):
    applied = []
    finish = RecipeSteps.finish

    def counted(self, name, *rest, **more):
        applied.append(name)
        return finish(self, name, *rest, **more)

    monkeypatch.setattr(RecipeSteps, "finish", counted)
    workshop = Workshop(asked(model, dataset, tmp_path))
    pruned = {"structured_prune": {"macs": 0.5}}
    made = []
    for passes in ([pruned], [pruned, "trim_kernels"], [pruned, "trim_kernels"]):
        with workshop.output_of(recipe.load({"passes": passes})) as one:
            made.append(one.digest)
    assert applied == ["export of the baseline", "0-structured_prune", "export of the candidate", "1-trim_kernels"]
    assert made[1] == made[2]


def test_steps_are_kept_separate_when_training_follows(model, dataset, tmp_path):
    cache = Workshop(asked(model, dataset, tmp_path))._cache
    alone = recipe.load({"passes": ["structured_prune"]})
    trained = recipe.load({"passes": ["structured_prune", "distill"]})
    rounded = recipe.load({"passes": ["structured_prune", "quantize_static"]})
    first = "0-structured_prune"
    assert cache.digest(alone, first) == cache.digest(rounded, first) != cache.digest(trained, first)


def test_certificate_states_the_number_of_trials(model, dataset, tmp_path, monkeypatch):
    cost_of = Workshop.cost_of

    def tenth(self, baseline, candidate):
        cost = cost_of(self, baseline, candidate)
        return dataclasses.replace(cost, value=cost.value / 10, low=cost.low / 10, high=cost.high / 10)

    monkeypatch.setattr(Workshop, "cost_of", tenth)  # so small a network may cost more in integers
    found = compress.search_recipe(
        model, dataset, max_loss=WIDE, objective="energy", trials=2, max_epochs=0, out=tmp_path, preprocess=PIXELS,
        plan=QUICK, progress=False,
    )  # fmt: skip
    assert found.best is not None and found.best.cost.high > found.best.cost.low > 0
    lineage = json.loads((tmp_path / "lineage.json").read_text())
    assert lineage["search"] == {"trials": 2, "objective": "energy", "max_loss_percent": WIDE}
    assert read_evidence(tmp_path / EVIDENCE_NAME).header.data["trials"] == 2
    claims = measured_claims(found.job.certified.certificate.claims)
    assert searched_among(claims) == 2
    assert found.job.within_budget is not None
    assert found.files[RECIPE].is_file() and found.files["model.onnx"].is_file()


def test_bound_is_refused_when_the_validation_data_cannot_show_it(model, dataset, tmp_path):
    with pytest.raises(UsageError, match=r"With 48 validation samples a loss below .* give about [\d,]+ "):
        Workshop(asked(model, dataset, tmp_path, max_loss_percent=1.0)).check()


def test_data_are_refused_when_they_have_no_validation_part(model, dataset, tmp_path):
    bare = dataclasses.replace(dataset, validation=None)
    with pytest.raises(UsageError, match="needs validation samples"):
        Workshop(asked(model, bare, tmp_path))


def test_search_reports_that_it_found_none_when_no_trial_succeeded(model, dataset, tmp_path, monkeypatch):
    output_of = Workshop.output_of

    def broken(self, chosen, callbacks=()):
        if chosen.passes:
            raise ModelError("The model can't be exported.")
        return output_of(self, chosen, callbacks)

    monkeypatch.setattr(Workshop, "output_of", broken)
    found = searching._search(asked(model, dataset, tmp_path), 1, Silent())
    assert found.best is None and found.recipe is None
    assert not (tmp_path / RECIPE).exists() and (tmp_path / TRIALS).exists()
    assert {each.why for each in found.trials} == {"The model can't be exported."}


def test_number_of_workers_is_refused_when_not_positive():
    for workers in ("0", "many", "-2", "http://host"):
        with pytest.raises(UsageError, match="--workers must be a number"):
            searching._count(workers)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["resnet18"], "Missing option '--max-loss'"),
        (["resnet18", "--max-loss", "nan"], "'--max-loss': must be a finite number, got nan"),
        (["resnet18", "--max-loss", "1", "--epochs", "0", "--student", "x"], "A student has to be trained"),
        (["resnet18", "--max-loss", "1", "--metric", "top5"], "bounds the loss of top-1 accuracy"),
        (["nothere.onnx", "--max-loss", "1", "--data", "mnist5k"], "ONNX file not found"),
    ],
)
def test_command_exits_with_2_and_one_sentence_when_input_is_bad(arguments, told, tmp_path):
    result = CliRunner().invoke(main, ["search", *arguments, "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("found", "code"), [(True, 0), (False, 3)])
def test_command_exits_with_3_when_no_recipe_meets_the_bound(bench, searched, monkeypatch, tmp_path, found, code):
    study = searched(trials=4)
    trials = tuple(each if found else dataclasses.replace(each, feasible=False) for each in study.trials())
    best = study.best() if found else None
    result = searching.SearchResult(trials, best, None, "energy", 1.0, {})
    monkeypatch.setattr(searching, "search_recipe", lambda *_, **__: result)
    ended = CliRunner().invoke(main, ["search", "numbers", "--max-loss", "1", "--no-certify"])
    assert ended.exit_code == code
    assert ("is the cheapest within 1 %" if found else "No recipe has a loss") in ended.output


def test_command_tells_the_closest_cost_when_no_recipe_is_cheaper(searched, monkeypatch, tmp_path):
    trials = tuple(
        dataclasses.replace(each, cost=each.cost and Estimate(1.2 + each.number, 1.1, 9.0, "1", 8, "as computed"))
        for each in searched(trials=4).trials()
    )
    result = searching.SearchResult(trials, None, None, "energy", 1.0, {})
    monkeypatch.setattr(searching, "search_recipe", lambda *_, **__: result)
    ended = CliRunner().invoke(main, ["search", "numbers", "--max-loss", "1", "--no-certify"])
    first = next(each.number for each in trials if each.feasible)
    assert ended.exit_code == 3
    said = " ".join(ended.output.split())
    assert "No recipe within 1 % is shown to cost less than the original (4 trials" in said
    assert f"trial {first} takes {1.2 + first:.3f} of its energy, at most 9.000." in said


def test_result_can_be_read_as_json_when_nothing_was_certified(searched):
    study = searched(trials=4)
    result = searching.SearchResult(tuple(study.trials()), study.best(), None, "energy", 1.0, {})
    assert json.loads(json.dumps(result.to_json()))["front"] == [each.number for each in result.front]
    assert isinstance(result.job, CompressionResult | None)


@pytest.fixture
def short(monkeypatch):
    """What the short search is asked for; nothing is searched."""
    asked_for = []

    def find(model, **arguments):
        asked_for.append((model, arguments))
        return searching.SearchResult((), None, None, "energy", arguments["max_loss"], {})

    monkeypatch.setattr(searching, "search_recipe", find)
    return asked_for


def test_compress_searches_a_recipe_when_a_bound_and_no_recipe_is_given(short, tmp_path):
    arguments = ["compress", "resnet18", "--max-loss", "1", "--no-measure", "--out", str(tmp_path), "--threads", "1"]
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 3  # none was found
    ((model, given),) = short
    assert model == "resnet18"
    assert given["max_loss"] == 1.0 and given["max_epochs"] == 0 and given["then"] == "make"
    assert given["plan"].threads == 1 and given["out"] == tmp_path


def test_compress_keeps_to_a_named_recipe_when_a_bound_is_given(short, monkeypatch):
    given = []
    monkeypatch.setattr(pipeline, "run", lambda model, **arguments: given.append(arguments["recipe"]) or 1 / 0)
    CliRunner().invoke(main, ["compress", "resnet18", "--max-loss", "0.5", "--recipe", "int8"])
    assert given[0].name == "int8" and given[0].budget.max_loss_percent == 0.5
    assert short == []


@pytest.mark.parametrize("option", [["--dry-run"], ["--set", "structured_prune.macs=0.4"]])
def test_compress_refuses_recipe_options_when_searching(short, option):
    ended = CliRunner().invoke(main, ["compress", "resnet18", "--max-loss", "1", *option])
    assert ended.exit_code == 2
    assert "name one with --recipe" in ended.output
