"""What a search is asked: one frozen object, which travels to every process that works on it."""

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
"""Inside of OUT: the study and the steps that recipes share."""
DATABASE = "study.db"
TRIALS = 30
SHORT_TRIALS = 12
"""Of ``leanmark compress --max-loss``, which searches recipes that train nothing."""
MAX_EPOCHS = 8
TOP1 = "top1"
"""The metric whose loss a search keeps within its bound."""


@dataclass(frozen=True)
class Question:
    """What is searched, for what, and within which limits.

    Attributes:
        model: as :func:`compress.run` takes it.
        data: likewise.
        max_loss_percent: largest upper end of the relative loss of accuracy on validation data, in percent.
        objective: what is to be least: ``energy`` or ``latency`` of one inference, or ``bytes`` of the file.
        out: folder of the search.
        trials: recipes that are tried.
        hours: after which no further trial begins; None for no limit.
        max_epochs: longest training of a trial; 0 for recipes that train nothing.
        students: architectures that may be trained in the original's place.
        sampler: ``tpe`` learns from the trials before, ``random`` does not.
        plan: how trials are measured: runtime, batch, threads, meter, seed.
        weights: file or name of weights.
        preprocess: preprocessing contract, or some of its fields.
        model_args: of the model's factory.
        target: kind of processor that the model is made for.
        max_train_time: seconds that one training may last.
        cache: folder for downloads and trained baselines.
        storage: URL of the study's database; a file inside of ``out`` by default.
        study: name of the study to join, where another machine asked the question; its own by default.
        heartbeat_s: seconds between two signs of life of a trial; one that misses four of them is tried again.

    Raises:
        UsageError: a value is out of its range.

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

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_loss_percent) and 0 < self.max_loss_percent <= 100):
            raise UsageError(f"max_loss must be in (0, 100] percent, got {self.max_loss_percent:g}.")
        if self.objective not in OBJECTIVES:
            raise UsageError(f"The objective must be one of {', '.join(OBJECTIVES)}; got '{self.objective}'.")
        if self.sampler not in ("tpe", "random"):
            raise UsageError(f"The sampler must be tpe or random; got '{self.sampler}'.")
        if self.trials < 1:
            raise UsageError(f"A search needs at least one trial, got {self.trials}.")
        if self.hours is not None and not (math.isfinite(self.hours) and self.hours > 0):
            raise UsageError(f"The hours of a search must be above 0, got {self.hours:g}.")
        if self.max_epochs < 0:
            raise UsageError(f"max_epochs must be 0 or more, got {self.max_epochs}.")
        if self.students and not self.max_epochs:
            raise UsageError("A student has to be trained; allow epochs (max_epochs), or leave the students out.")
        if self.plan.metric != TOP1:
            raise UsageError(
                f"A search keeps the loss of top-1 accuracy within its bound, and the metric is {self.plan.metric}; "
                "choose a recipe with leanmark compress --recipe."
            )

    @property
    def folder(self) -> Path:
        """Where the search keeps what it needs to resume."""
        return self.out / FOLDER

    @property
    def database(self) -> str:
        """URL of the study's database."""
        return self.storage or f"sqlite:///{self.folder / DATABASE}"
