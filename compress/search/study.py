"""The study: trials of one question in a database that several processes share and that outlives them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import LeanmarkError, MeasureError, UsageError
from certify.core.estimate import Estimate
from certify.core.progress import Progress, Silent
from certify.measure.machine import describe
from compress.job import recipe as recipes
from compress.job.recipe import Recipe
from compress.search import trial as keys
from compress.search.choice import Params
from compress.search.optional import optuna
from compress.search.question import Question
from compress.search.space import Space
from compress.search.trial import Objective
from compress.search.turns import locked

SQLITE = "sqlite:"
WAIT_FOR_DATABASE_S = 120
GRACE = 4
"""Heartbeats that a trial may miss before it counts as dead."""
RETRIES = 2
LOST_IN_A_ROW = 3
"""Consecutive failed measurements after which the search ends with their error."""
REDUCTION = 3
"""Successive halving continues one in this many of the trainings that reach an epoch."""
POLL_S = 0.5


@dataclass(frozen=True)
class Trial:
    """Outcome of one trial.

    Attributes:
        number: number of the trial, from 0.
        recipe: tried recipe; None if the trial ended before.
        loss: relative loss of accuracy on validation data, in percent; None if nothing was made.
        cost: cost of the objective as a ratio of the original's; None if it was not measured.
        bytes: size of the model's file; None if nothing was made.
        feasible: whether the upper end of its loss is within the bound.
        why: reason why it was not measured; empty if it was.
        declined: passes that left the model unchanged, with the reason.
    """

    number: int
    recipe: Mapping[str, Any] | None
    loss: Estimate | None
    cost: Estimate | None
    bytes: int | None
    feasible: bool
    why: str
    declined: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        ends = {
            name: None if estimate is None else estimate.to_json()
            for name, estimate in (("loss", self.loss), ("cost", self.cost))
        }
        return {**vars(self), **ends, "declined": dict(self.declined)}


class Study:
    """The trials of one question. Several processes may open it at once, and each may end at any time.

    Args:
        question: question of the search.
        space: space of recipes.
        job: everything besides the recipe that a model depends on.
    """

    def __init__(self, question: Question, space: Space, job: Mapping[str, Any]) -> None:
        self._question, self._space = question, space
        self._url = question.database
        self.name = question.study or f"leanmark-{identity(question, space, job)[:16]}"
        self._lock = question.folder / "study.lock"
        with locked(self._lock):  # concurrent creation of the tables would fail
            self._study = self._open()

    def trials(self) -> list[Trial]:
        """Return all finished trials, in order."""
        return [_read(each) for each in self._study.get_trials(deepcopy=False) if _has_ended(each)]

    def count(self) -> int:
        """Return the number of trials that ended with an answer."""
        return sum(_has_ended(each) for each in self._study.get_trials(deepcopy=False))

    def best(self) -> Trial | None:
        """Return the trial within the bound whose cost is least at the upper end of its interval, or None.

        By the measured value, the luckiest of many noisy measurements would win. None if no trial is shown to cost less
        than the original.
        """
        cheaper = [each for each in self.trials() if each.feasible and each.cost and each.cost.high < 1]
        return min(cheaper, key=lambda each: each.cost.high if each.cost else 1.0, default=None)

    def work(self, objective: Objective, until_s: float, progress: Progress | None = None) -> None:
        """Run trials until there are enough of them, or the time is up.

        Args:
            objective: runs one trial.
            until_s: wall-clock time (``time.time``) after which no trial starts.
            progress: where to report each trial.

        Raises:
            MeasureError: several measurements in a row failed.
        """
        progress, lost, wanted = progress or Silent(), 0, self._question.trials
        longest_s = 0.0
        with progress.task(f"Searching among recipes for the least {self._question.objective}", wanted) as task:
            task.advance(self.count())
            while (done := self.count()) < wanted and time.time() + longest_s < until_s:
                began_s = time.time()
                if not self._try_one(objective, wanted):  # others run the last trials; take over if one dies
                    time.sleep(POLL_S)
                    optuna().storages.fail_stale_trials(self._study)
                    self._fail_stillborn_trials()
                    continue
                # A trial is not started if one as long as the longest so far would end too late.
                longest_s = max(longest_s, time.time() - began_s)
                lost = 0 if self.count() > done else lost + 1
                if lost >= LOST_IN_A_ROW:
                    raise MeasureError(f"{lost} trials in a row were lost; the last one: {self._last_error()}")
                task.advance(self.count() - done, note=self._note())

    def _try_one(self, objective: Objective, wanted: int) -> bool:
        """Run a trial if the running ones do not complete the number; return whether it ran."""
        with contextlib.ExitStack() as claim:
            # Held until the trial is registered: of two processes that count at once, both would run the last trial.
            claim.enter_context(locked(self._lock))
            trials = self._study.get_trials(deepcopy=False)  # one reading: a trial may end between two
            if sum(_has_ended(each) or each.state.name == "RUNNING" for each in trials) >= wanted:
                return False

            def run(trial: Any) -> float:
                claim.close()
                return objective(trial)

            # The number of begun trials is new to every trial, so no process repeats the draws of another one.
            begun = sum(each.state.name != "WAITING" for each in trials)
            self._study.sampler = self._sampler(optuna(), self._question.plan.seed + begun)
            # A trial that other processes took for dead, as after a suspended machine, is tried again.
            with contextlib.suppress(optuna().exceptions.UpdateFinishedTrialError):
                self._study.optimize(run, n_trials=1, catch=(MeasureError,))
        return True

    def _fail_stillborn_trials(self) -> None:
        """End trials whose process died before their first heartbeat; Optuna would count them as running forever."""
        longest_s = GRACE * self._question.heartbeat_s
        for each in self._study.get_trials(deepcopy=False):
            if each.state.name == "RUNNING" and keys.RECIPE not in each.user_attrs:
                # Optuna stores local times without a zone.
                began_s = each.datetime_start.timestamp()
                if time.time() - began_s > longest_s:
                    state = optuna().trial.TrialState.FAIL
                    self._study.tell(each.number, state=state, skip_if_finished=True)

    def recipe(self, trial: Trial, name: str) -> Recipe:
        """Return the recipe of a trial, under a new name."""
        if trial.recipe is None:
            raise ValueError(f"trial {trial.number} has no recipe")
        return replace(recipes.load(dict(trial.recipe)), name=name)

    def _open(self) -> Any:
        library = optuna()
        try:
            study = library.create_study(
                storage=self._storage(library),
                study_name=self.name,
                load_if_exists=True,
                sampler=self._sampler(library, self._question.plan.seed),
                pruner=library.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
            )
        except (ImportError, library.exceptions.StorageInternalError) as error:
            raise _no_database(self._url, error) from error
        except Exception as error:
            # SQLAlchemy is imported by Optuna alone, so its errors are recognised by the name of their module.
            if type(error).__module__.partition(".")[0] != "sqlalchemy":
                raise
            raise _no_database(self._url, error) from error
        if not study.get_trials(deepcopy=False):
            for params in starting_points(self._space):
                study.enqueue_trial(params, skip_if_exists=True)
        return study

    def _storage(self, library: Any) -> Any:
        beat = self._question.heartbeat_s
        # SQLite lets one process write at a time, and the others wait.
        arguments = {"connect_args": {"timeout": WAIT_FOR_DATABASE_S}} if self._url.startswith(SQLITE) else {}
        retry = library.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
        return library.storages.RDBStorage(
            self._url, engine_kwargs=arguments, heartbeat_interval=beat, grace_period=GRACE * beat,
            heartbeat_stale_trial_callback=retry,
        )  # fmt: skip

    def _sampler(self, library: Any, seed: int) -> Any:
        if self._question.sampler == "random":
            return library.samplers.RandomSampler(seed=seed)
        return library.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(1, self._question.trials // 3)))

    def _last_error(self) -> str:
        failed = [each for each in self._study.get_trials(deepcopy=False) if each.state.name == "FAIL"]
        return str(failed[-1].user_attrs.get(keys.WHY, "its process ended")) if failed else "its process ended"

    def _note(self) -> str:
        best = self.best()
        if best is None or best.cost is None:
            return f"none within {self._question.max_loss_percent:g} % and cheaper yet"
        return f"best {best.cost.value:.3f} of the original's {self._question.objective} (trial {best.number})"


def identity(question: Question, space: Space, job: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of everything that trials of a study share; different machines never share a study."""
    plan = question.plan
    values = {
        "job": job, "space": space.digest(), "objective": question.objective, "sampler": question.sampler,
        "max_loss_percent": question.max_loss_percent,
        "plan": [plan.runtime, plan.batch, plan.threads, plan.meter, plan.window_s],
        "machine": None if question.objective == "bytes" else describe().get("processor"),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def starting_points(space: Space) -> Iterator[Params]:
    """Yield the shipped recipes that fit the space, so that no search ends worse than the best of them.

    Points that are often good follow, with the rest of such a recipe. The sampler makes the choices that a point leaves
    open.
    """
    seen = []
    for name in recipes.names():
        point = space.point(recipes.load(name))
        if point is not None and point not in seen:
            seen.append(point)
            yield point
    yield from space.likely(seen)


def _has_ended(trial: Any) -> bool:
    return trial.state.name in ("COMPLETE", "PRUNED")


def _read(trial: Any) -> Trial:
    attributes = trial.user_attrs
    loss, cost = (
        Estimate.from_json(attributes[name]) if name in attributes else None for name in (keys.LOSS, keys.COST)
    )
    return Trial(
        number=trial.number,
        recipe=attributes.get(keys.RECIPE),
        loss=loss,
        cost=cost,
        bytes=attributes.get(keys.BYTES),
        # Optuna's convention: a constraint is kept if its value is at most 0.
        feasible=trial.state.name == "COMPLETE" and all(value <= 0 for value in trial.constraints.values()),
        why=attributes.get(keys.WHY, ""),
        declined=attributes.get(keys.DECLINED, {}),
    )


def _no_database(url: str, error: Exception) -> LeanmarkError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    place = url.rpartition("@")[2]  # without a password
    return UsageError(f"The study's database {place} cannot be opened ({first}); give another --storage.")
