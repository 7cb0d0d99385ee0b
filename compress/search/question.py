"""The question of a search: one frozen object, which is sent to every process that works on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from certify.core.errors import UsageError
from certify.measure.plan import Plan

Objective = Literal["energy", "latency", "bytes"]
OBJECTIVES: tuple[Objective, ...] = ("energy", "latency", "bytes")
Sampler = Literal["tpe", "random"]

FOLDER = ".search"
"""Folder inside OUT for the study and the steps that recipes share."""
DATABASE = "study.db"
TRIALS = 30
SHORT_TRIALS = 12
"""Number of trials of ``leanmark compress --max-loss``, which only tries recipes without training."""
MAX_EPOCHS = 8
TOP1 = "top1"
"""The metric whose loss a search keeps within its bound."""


@dataclass(frozen=True)
class Question:
    """Model, objective and limits of a search.

    Attributes:
        model: as for :func:`compress.run`.
        data: likewise.
        max_loss_percent: maximum upper end of the relative loss of accuracy on validation data, in percent.
        objective: quantity to minimise: ``energy`` or ``latency`` of one inference, or ``bytes`` of the file.
        out: output folder.
        trials: number of recipes to try.
        hours: time after which no further trial starts; None for no limit.
        max_epochs: maximum training epochs of a trial; 0 for recipes without training.
        students: architectures that may be trained instead of the original.
        sampler: ``tpe`` learns from earlier trials, ``random`` does not.
        plan: measurement of trials: runtime, batch, threads, meter, seed.
        weights: file or name of weights.
        preprocess: preprocessing contract, or some of its fields.
        model_args: arguments of the model's factory.
        target: kind of processor to optimise for.
        max_train_time: time limit of each training, in seconds.
        cache: folder for downloads and trained baselines.
        storage: URL of the study's database; a file inside ``out`` by default.
        study: name of the study to join, if another machine created it; its own by default.
        heartbeat_s: seconds between two heartbeats of a trial; one that misses four of them is tried again.
        by_cost: whether recipes may choose widths by measured costs of the model's blocks.

    Raises:
        UsageError: a value is out of range.

    Example:
        >>> Question("resnet18", "mnist5k", max_loss_percent=1.0, out=Path("build/resnet18")).database
        'sqlite:///build/resnet18/.search/study.db'
    """

    model: Any
    data: Any
    max_loss_percent: float
    out: Path
    objective: Objective = "energy"
    trials: int = TRIALS
    hours: float | None = None
    max_epochs: int = MAX_EPOCHS
    students: tuple[str, ...] = ()
    sampler: Sampler = "tpe"
    plan: Plan = field(default_factory=Plan)
    weights: str | None = None
    preprocess: Any = None
    model_args: Mapping[str, Any] | None = None
    target: str | None = None
    max_train_time: float | None = None
    cache: Path | None = None
    storage: str | None = None
    study: str | None = None
    heartbeat_s: int = 30
    by_cost: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_loss_percent) and 0 < self.max_loss_percent <= 100):
            raise UsageError(f"The 'max_loss' setting must be in (0, 100] percent, got {self.max_loss_percent:g}.")
        if self.objective not in OBJECTIVES:
            raise UsageError(f"The 'objective' setting must be one of {', '.join(OBJECTIVES)}, got '{self.objective}'.")
        if self.sampler not in ("tpe", "random"):
            raise UsageError(f"The 'sampler' setting must be tpe or random, got '{self.sampler}'.")
        if self.trials < 1:
            raise UsageError(f"The 'trials' setting must be at least 1, got {self.trials}.")
        if self.hours is not None and not (math.isfinite(self.hours) and self.hours > 0):
            raise UsageError(f"The 'hours' setting must be above 0, got {self.hours:g}.")
        if self.max_epochs < 0:
            raise UsageError(f"The 'max_epochs' setting must be at least 0, got {self.max_epochs}.")
        if self.students and not self.max_epochs:
            raise UsageError("A student has to be trained; allow epochs (max_epochs), or leave the students out.")
        if self.plan.metric != TOP1:
            raise UsageError(
                f"A search bounds the loss of top-1 accuracy, but the metric is {self.plan.metric}; choose a recipe "
                "with leanmark compress --recipe instead."
            )

    @property
    def folder(self) -> Path:
        """Folder of everything that the search needs to resume."""
        return self.out / FOLDER

    @property
    def database(self) -> str:
        """URL of the study's database."""
        return self.storage or f"sqlite:///{self.folder / DATABASE}"
