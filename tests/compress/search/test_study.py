"""A study over numbers: the bound is kept, nothing is measured twice, and a study resumes where it was."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import sys
from types import SimpleNamespace

import pytest

from certify.core.errors import MeasureError, MissingExtra, ModelError, UsageError
from compress.job import recipe as recipes
from compress.job.recipe import Budget
from compress.search import study as studies
from compress.search.optional import optuna
from compress.search.question import Question
from compress.search.space import make_space
from compress.search.study import Study, identity
from compress.search.trial import Halving, Objective

JOB = {"model": "numbers"}


def test_best_is_the_cheapest_within_the_bound_when_cheaper_ones_lose_more(searched):
    study = searched(trials=20)
    best = study.best()
    trials = study.trials()
    assert len(trials) == 20
    assert best.loss.high <= 1.0
    assert any(each.cost is not None and not each.feasible for each in trials)  # near the bound, measured and beyond
    kept = [each.cost.value for each in trials if each.feasible]
    assert best.cost.value == min(kept)
    assert best.cost.value <= 0.25  # integers are the first trial: the shipped recipe int8


def test_none_is_best_when_no_trial_is_shown_to_cost_less_than_the_original(searched, monkeypatch):
    study = searched(trials=4)
    trials = study.trials()
    cheapest = study.best()
    for low, high, expected in ((0.9, 1.1, None), (1.1, 1.3, None), (0.8, 0.99, cheapest.number)):
        same = [
            dataclasses.replace(each, cost=dataclasses.replace(each.cost, value=(low + high) / 2, low=low, high=high))
            for each in trials
            if each.number == cheapest.number
        ]
        monkeypatch.setattr(study, "trials", lambda same=same: same)
        best = study.best()
        assert (best and best.number) == expected


def test_first_trials_are_the_shipped_recipes_when_a_study_begins(searched):
    first = searched(trials=1).trials()[0]
    names = [next(iter(each)) for each in first.recipe["passes"]]
    assert names == ["trim_kernels", "space_to_depth", "pad_channels", "quantize_static"]


def test_recipe_is_not_measured_when_its_loss_is_far_beyond_the_bound(searched, bench):
    trials = searched(trials=15).trials()
    far = [each for each in trials if each.loss.high > 2.0]
    assert far and all(each.cost is None and "not measured" in each.why and not each.feasible for each in far)
    assert bench.measured < len(trials) - len(far) + 1


def test_file_is_measured_once_when_two_recipes_make_the_same(searched, bench):
    trials = searched(trials=20).trials()
    sizes = {each.bytes for each in trials if each.cost is not None}
    assert bench.measured == len(sizes) < len([each for each in trials if each.cost is not None])


class Drawn:
    """A trial outside of any study."""

    def __init__(self) -> None:
        self.number, self.study = 0, SimpleNamespace(get_trials=lambda **_: [])

    def set_user_attr(self, name, value) -> None:
        pass

    def set_constraint(self, name, value) -> None:
        pass


@contextlib.contextmanager
def _noted(log, name):
    log.append(f"{name} begins")
    yield
    log.append(f"{name} ends")


def test_recipe_runs_alone_when_it_measures_costs(bench, turns, monkeypatch):
    log = []
    for name in ("working", "measuring"):
        monkeypatch.setattr(turns, name, functools.partial(_noted, log, name))
    output_of = bench.output_of
    monkeypatch.setattr(bench, "output_of", lambda *given: log.append("made") or output_of(*given))
    for goal, turn in (("energy", "measuring"), ("macs", "working")):
        recipe = recipes.load({"passes": [{"structured_prune": {goal: 0.9}}]})
        monkeypatch.setattr(bench, "space", SimpleNamespace(suggest=lambda trial: {}, recipe=lambda *_, r=recipe: r))
        log.clear()
        Objective(bench, 1.0, turns, bench.cost)(Drawn())
        assert log == ["working begins", "working ends", f"{turn} begins", "made", f"{turn} ends"]


def test_no_turn_is_taken_here_when_another_machine_measures(question, bench, turns, monkeypatch):
    # That machine takes its own turn, and it may be this one.
    monkeypatch.setattr(turns, "measuring", None)
    study = Study(dataclasses.replace(question, trials=1), bench.space, JOB)
    study.work(Objective(bench, question.max_loss_percent, turns, bench.cost), float("inf"))
    assert bench.measured == 1 and study.best() is not None


def test_study_resumes_with_its_trials_when_it_is_opened_again(searched, bench):
    first = searched(trials=5)
    made = len(bench.made_recipes)
    again = searched(trials=9)
    assert again.name == first.name
    assert again.count() == 9
    assert len(bench.made_recipes) == made + 4
    assert [each.number for each in again.trials()] == list(range(9))


def test_study_is_new_when_the_question_differs(question, bench):
    own = identity(question, bench.space, JOB)
    for change in ({"objective": "bytes"}, {"max_loss_percent": 2.0}, {"sampler": "random"}):
        assert identity(dataclasses.replace(question, **change), bench.space, JOB) != own
    assert identity(question, bench.space, {"model": "others"}) != own
    assert identity(dataclasses.replace(question, trials=99, hours=1.0), bench.space, JOB) == own


def test_trial_is_infeasible_when_its_recipe_cannot_run(searched, bench):
    bench.fail_at[2] = ModelError("The model can't be exported.")
    trials = searched(trials=6).trials()
    assert len(trials) == 6
    assert trials[2].why == "The model can't be exported." and not trials[2].feasible


def test_one_trial_is_lost_when_a_measurement_fails(searched, bench):
    bench.fail_at[2] = MeasureError("The worker of the candidate was killed.")
    study = searched(trials=6)
    assert study.count() == 6
    assert len(bench.made_recipes) == 7


def test_search_ends_with_the_error_when_every_measurement_fails(searched, bench):
    bench.fail_at.update({number: MeasureError("The meter is gone.") for number in range(9)})
    with pytest.raises(MeasureError, match=r"3 trials in a row were lost.*The meter is gone"):
        searched()
    assert len(bench.made_recipes) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_one_trial_is_lost_when_the_user_or_the_disk_stops_it(searched, bench, error):
    bench.fail_at[3] = error
    with pytest.raises(type(error)):
        searched(trials=6)
    study = searched(trials=6)
    assert study.count() == 6
    assert len(bench.made_recipes) == 7


def test_no_trial_starts_when_the_time_is_up(searched, bench):
    assert searched(until_s=0.0).count() == 0
    assert bench.made_recipes == []


@pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")
def test_training_is_stopped_when_other_trials_were_better_at_that_point(question, bench):
    study = Study(question, bench.space, JOB)._study
    for shortfall in (0.0, 0.02, 0.04):
        trial = study.ask()
        trial.report(shortfall, 1)
        assert trial.should_prune() in (True, False)
        study.tell(trial, 1.0)
    behind, within = study.ask(), study.ask()
    with pytest.raises(optuna().TrialPruned):
        Halving(behind, floor=0.9).on_epoch_end("Distilling", 1, {"validation_accuracy": 0.5})
    assert "stopped after epoch 1" in behind.user_attrs["why"]
    Halving(within, floor=0.9).on_epoch_end("Distilling", 1, {"validation_accuracy": 0.91})  # small, and good enough


def test_each_trial_draws_with_a_seed_of_its_own(searched, monkeypatch):
    seeds, sampler = [], Study._sampler
    monkeypatch.setattr(Study, "_sampler", lambda self, lib, seed: seeds.append(seed) or sampler(self, lib, seed))
    searched(trials=2)
    searched(trials=4)  # begins again where the first two ended
    opened, *rest = seeds
    assert opened == 0 and rest == [0, 1, 0, 2, 3]  # opening a study makes a sampler, too


def test_search_ends_when_a_process_died_before_the_first_heartbeat_of_its_trial(question, bench, turns, monkeypatch):
    study = Study(dataclasses.replace(question, trials=2), bench.space, JOB)
    study._study._storage.create_new_trial(study._study._study_id)  # it runs, says the database
    monkeypatch.setattr(studies, "GRACE", 0)
    study.work(Objective(bench, question.max_loss_percent, turns), float("inf"))
    assert study.count() == 2
    assert [each.state.name for each in study._study.get_trials(deepcopy=False)].count("FAIL") == 1


def test_trial_is_lost_when_others_took_it_for_dead(searched, bench):
    bench.fail_at[0] = optuna().exceptions.UpdateFinishedTrialError("Trial#0 has already finished.")
    assert searched(trials=3).count() == 3


def test_random_sampler_draws_other_recipes_when_it_resumes(searched):
    searched(sampler="random", trials=5)
    trials = searched(sampler="random", trials=9).trials()
    drawn = [str(each.recipe["passes"]) for each in trials[3:]]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_loss_percent": 0.0}, "'max_loss' setting must be in"),
        ({"max_loss_percent": float("nan")}, "'max_loss' setting must be in"),
        ({"objective": "joy"}, "energy, latency, bytes"),
        ({"sampler": "grid"}, "tpe or random"),
        ({"trials": 0}, "'trials' setting must be at least 1"),
        ({"hours": -1.0}, "above 0"),
        ({"max_epochs": -1}, "'max_epochs' setting must be at least 0"),
        ({"max_epochs": 0, "students": ("resnet18",)}, "has to be trained"),
    ],
)
def test_question_is_refused_in_one_sentence_when_a_value_is_out_of_range(question, change, told):
    with pytest.raises(UsageError, match=told):
        dataclasses.replace(question, **change)


def test_database_is_refused_in_one_sentence_when_it_cannot_be_opened(question, bench):
    away = dataclasses.replace(question, storage="sqlite:////nowhere/at/all/study.db")
    with pytest.raises(UsageError, match=r"database .*study\.db cannot be opened"):
        Study(away, bench.space, JOB)


def test_password_is_not_shown_when_a_database_cannot_be_opened():
    told = str(studies._no_database("postgresql://me:secret@host/db", ValueError("no route")))
    assert "secret" not in told and "host/db" in told


def test_extra_is_named_when_optuna_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"requires the extra 'search'"):
        optuna()


def test_space_has_no_torch_pass_when_the_model_is_a_file():
    space = make_space("transformer", budget=Budget(max_loss_percent=1.0), stages=("onnx",))
    names = {choice.of for choice in space.choices}
    assert "quantize_static" in names and "structured_prune" not in names


def test_question_keeps_its_study_in_the_folder_when_no_database_is_given(tmp_path):
    asked = Question("m", "d", max_loss_percent=1.0, out=tmp_path)
    assert asked.database == f"sqlite:///{tmp_path}/.search/study.db"
