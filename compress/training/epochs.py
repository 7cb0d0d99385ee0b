"""The epochs of one training: selection of the weights to return, and resuming an interrupted training."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from certify.core import files
from certify.core.progress import Task as Bar
from compress.core import step_cost
from compress.core.model_stats import state_digest
from compress.training import distributed
from compress.training.data import Batches
from compress.training.optimization import Run

STEPS_BEFORE_ESTIMATE = 5
"""Batches before the remaining time is estimated; the first ones also prepare kernels."""
KEPT_AFTER_S = 10.0
"""An epoch is saved when an interruption would lose at least this much work: writing large states takes time."""

EpochScore = tuple[float, float]
"""(accuracy, minus loss) on validation data; the larger, the better the epoch."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training.

    Attributes:
        epochs_done: complete passes over the training data.
        best_epoch: epoch (from 1) whose weights were returned; an epoch that was cut short counts.
        validation_accuracy: accuracy of those weights, 0 to 1.
        seconds: wall-clock time.
        stopped_early: whether the time ran out before the last epoch.
        reason: reason for the end, in words.
    """

    epochs_done: int
    best_epoch: int
    validation_accuracy: float
    seconds: float
    stopped_early: bool
    reason: str


@dataclass
class _State:
    """State of a training after an epoch."""

    epoch: int = 0
    seconds: float = 0.0
    best: EpochScore = (-1.0, -math.inf)
    best_epoch: int = 0
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


class Epochs:
    """One training, epoch by epoch.

    With several processes, the lead validates, checks the time and saves the state; the others follow it.

    Args:
        run: model, optimizer and schedule.
        batches: batches of one epoch, read repeatedly.
        validate: scores the current model on validation data; None on ranks that do not lead.
        bar: progress bar, advanced with every batch.
        seed: seed of the random numbers in a step; each epoch and rank has its own.
        report: called after each epoch with its number and figures.
    """

    def __init__(
        self,
        run: Run,
        batches: Batches,
        validate: Callable[[], EpochScore] | None,
        bar: Bar,
        seed: int,
        report: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self._run, self._batches, self._validate, self._bar, self._seed = run, batches, validate, bar, seed
        self._report = report
        self._figures: dict[str, float] = {}
        self._state = _State()

    def finish(self, deadline: float | None, resume: Path | None) -> TrainingResult:
        """Train to the end, and load the weights of the chosen epoch into the model.

        Args:
            deadline: ``time.monotonic`` time after which no further batch is started.
            resume: file of the last finished epoch, or None.
        """
        run = self._run
        key = None if resume is None else _key(run)
        self._go_on(distributed.broadcast(None if resume is None else _read(resume, key)))
        state = self._state
        began = time.monotonic() - state.seconds
        kept_at = state.seconds
        if deadline is not None:
            deadline -= state.seconds  # the time of the epochs before an interruption counts too
        out_of_time = False
        while run.done < run.steps and not out_of_time:
            out_of_time = self._epoch(deadline, began)
            state.seconds = time.monotonic() - began
            if resume is not None and state.seconds - kept_at >= KEPT_AFTER_S:
                self._keep(resume, key)
                kept_at = state.seconds
            # Report after saving, so that an error of the user's callback does not lose the epoch.
            self._report(state.epoch, {**self._figures, "seconds": state.seconds})
        run.model.load_state_dict(state.kept)
        return self._result()

    def _epoch(self, deadline: float | None, began: float) -> bool:
        """Run one pass over the data; return whether the time is up."""
        run, state, out_of_time = self._run, self._state, False
        state.epoch += 1
        # Seed per epoch, so that a resumed training draws as if uninterrupted, and per rank, so that dropout differs.
        torch.manual_seed(_drawn(self._seed, state.epoch, distributed.rank()))
        run.model.train()
        best = f", validation {state.best[0]:.1%}" if state.kept else ""
        losses = []
        for images, labels in self._batches:
            losses.append(loss := run.step(images, labels))
            self._bar.advance(1, note=f"epoch {state.epoch}, loss {loss:.3f}{best}")
            if deadline is not None:
                # Clocks differ: a rank that decides for itself could wait for a batch that the others never start.
                out_of_time, run.steps = distributed.broadcast(self._time_left(deadline, began))
            if out_of_time or run.done >= run.steps:
                break
        reached = distributed.broadcast(state.best if self._validate is None else self._validate())
        self._figures = {"loss": sum(losses) / len(losses), "validation_accuracy": reached[0]}
        if reached > state.best or run.config.keep == "last":
            state.best, state.best_epoch = reached, state.epoch
            # Copies: the tensors of a state dict change with the next step.
            state.kept = {key: value.detach().clone() for key, value in run.model.state_dict().items()}
        self._bar.advance(0, note=f"epoch {state.epoch}, loss {loss:.3f}, validation {state.best[0]:.1%}")
        return out_of_time

    def _time_left(self, deadline: float, began: float) -> tuple[bool, int]:
        """Return whether the time is up, and the length of a schedule that ends before the deadline."""
        run, now, steps = self._run, time.monotonic(), self._run.steps
        if run.done >= STEPS_BEFORE_ESTIMATE:
            left = int(max(0.0, deadline - now) / (now - began) * run.done)
            steps = min(steps, run.done + left)
        return now >= deadline, steps

    def _result(self) -> TrainingResult:
        run, state = self._run, self._state
        complete = run.done // len(self._batches)
        early = complete < run.config.epochs
        reason = f"the time was up after {complete} of {run.config.epochs} epochs" if early else "all epochs done"
        return TrainingResult(complete, state.best_epoch, state.best[0], state.seconds, early, reason)

    def _keep(self, path: Path, key: str | None) -> None:
        run = self._run
        content = {
            "key": key,
            "state": asdict(self._state),
            "run": run.state_dict(),
            "batches": json.dumps(self._batches.random_state()),
        }
        with files.replacing(path) as beside:
            torch.save(content, beside)

    def _go_on(self, content: Mapping[str, Any] | None) -> None:
        """Restore a saved training."""
        if content is None:
            return
        self._state = _State(**content["state"])
        step_cost.mark_unmetered(self._state.seconds)
        self._state.best = tuple(content["state"]["best"])
        self._run.load_state_dict(content["run"])
        self._batches.set_random_state(json.loads(content["batches"]))
        self._bar.advance(self._run.done, note=f"resuming after epoch {self._state.epoch}")


def _key(run: Run) -> str:
    """Identify a training by its settings and initial weights."""
    config = json.dumps(asdict(run.config), sort_keys=True)
    return hashlib.sha256(f"{config} {run.steps} {state_digest(run.model)}".encode()).hexdigest()


def _drawn(*numbers: int) -> int:
    """Derive a seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _read(path: Path, key: str | None) -> dict[str, Any] | None:
    """Return a saved training, or None if the file belongs to another one or is damaged."""
    if not path.is_file():
        return None
    try:
        # weights_only: a file in a job's folder must not run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None
