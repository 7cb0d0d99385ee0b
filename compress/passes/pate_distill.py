"""A student trained on noisy votes of teachers of private data."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from certify.assessments.privacy.records import GnMaxVotes
from certify.core.accounting import GnMax, spent
from certify.core.errors import UsageError
from certify.data import Dataset
from compress import private as engines
from compress import training
from compress.core.context import PassContext
from compress.core.further_data import FurtherData
from compress.core.pass_protocol import PassRecord, PassTags, TorchPass
from compress.private.account import FROM_SYSTEM, PRIVATE, account_of_votes
from compress.private.budget import public_source, require_votes

if TYPE_CHECKING:
    from torch import nn


class PateDistill(TorchPass):
    """Train the model on public samples labelled by the noisy votes of teachers of private data (PATE).

    The private data is split into disjoint parts by the sample identifiers alone, and a linear teacher is trained on
    each. A public sample is labelled if enough teachers agree, after noise; its label is the largest of the noisy
    counts (Confident-GNMax). The maximum number of answers is fixed before the first query, and epsilon follows from
    that cap alone; vote counts are not kept. Labels of the public samples are not read.

    Papers: Papernot et al. 2017 (arXiv 1610.05755) and 2018 (arXiv 1802.08908).

    When not to use it: without public samples similar to the private ones; with fewer than about ten thousand private
    records, where the parts are too small for the teachers to agree.

    Example:
        >>> PateDistill(teachers=100).answers
        1100
    """

    name: ClassVar[str] = "pate_distill"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(
        quick={
            "teachers": 3, "noise": 1.0, "threshold": 0.6, "threshold_noise": 1.0, "queries": 40, "answers": 30,
            "delta": 1e-3, "epochs": 1, "teacher_steps": 5,
        },
        noisy=True,
    )  # fmt: skip

    teachers: int = Field(default=250, ge=2, le=100_000, description="Disjoint parts of the private data.")
    noise: float = Field(default=35.0, gt=0, le=1e6, description="Standard deviation of the noise on votes, in votes.")
    threshold: float | None = Field(
        default=0.72,
        gt=0,
        le=1,
        description="Share of teachers that must agree, after noise. None answers every query.",
    )
    threshold_noise: float = Field(default=100.0, gt=0, le=1e6, description="Noise of that check, in votes.")
    queries: int = Field(default=2000, ge=1, le=10_000_000, description="Maximum number of public samples queried.")
    answers: int = Field(default=1100, ge=1, le=10_000_000, description="Maximum number of queries answered.")
    public: str = Field(
        default="validation", description="Public samples: a data specification, or the part validation or calibration."
    )
    inputs: Literal["samples", "features"] = Field(
        default="samples",
        description="Inputs of the teachers: preprocessed samples, or the features that the model's head reads.",
    )
    teacher_steps: int = Field(default=60, ge=1, le=100_000, description="Training steps per teacher.")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="Delta for which epsilon holds; below 1 / records.")
    epsilon: float | None = Field(
        default=None,
        gt=0,
        description="Maximum epsilon of the votes; refused before the first query if the caps cost more.",
    )
    adjacency: Literal["add-remove", "replace-one"] = Field(
        default="add-remove", description="Definition of neighbouring data sets; the votes cost the same either way."
    )
    epochs: int = Field(default=40, ge=1, le=10_000, description="Passes of the student over the answered samples.")
    lr: float = Field(default=2e-3, gt=0, le=10, description="Largest learning rate of the student.")

    @model_validator(mode="after")
    def _caps(self) -> PateDistill:
        if self.answers > self.queries:
            raise ValueError(f"answers ({self.answers}) must not be more than queries ({self.queries})")
        return self

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return True

    @property
    def further_data(self) -> FurtherData | None:
        """See :attr:`Pass.further_data`."""
        return public_source(self.public)

    def cost(self) -> float:
        """Compute epsilon from the caps."""
        checked = self.threshold is not None
        # Not from the number of answers, because it depends on the private data.
        votes = GnMax(
            self.noise,
            self.answers,
            self.threshold_noise if checked else None,
            self.queries if checked else None,
        )
        return spent([(votes, 1)], self.delta, self.adjacency).epsilon

    def require_data(self, dataset: Dataset) -> None:
        """See :meth:`Pass.require_data`: delta, caps and teachers must fit the number of private records."""
        if dataset.train is not None:
            require_votes(self.cost(), self.epsilon, self.answers, self.delta, len(dataset.train))
            engines.parts_of(dataset.train, self.teachers)

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: train or public samples are missing, there are too many teachers, or the caps cost more than
                `epsilon`.
            DataError: the public data contains private or test samples.
        """
        private = context.data.part("train", self.name)
        cost, mechanism = self.cost(), f"gnmax#{context.place}"
        # Check before the first vote, because a vote spends budget even if the job fails afterwards.
        require_votes(cost, self.epsilon, self.answers, self.delta, len(private))
        public = engines.public_data(self.public, context, private, self.name)
        student = copy.deepcopy(model).eval()
        checked = self.threshold is not None
        vote = engines.Vote(
            self.noise,
            self.answers,
            self.threshold * self.teachers if self.threshold is not None else None,
            self.threshold_noise if checked else None,
            self.queries,
        )
        queried = public.split.subset(np.arange(min(self.queries, len(public.split))))
        election = engines.Election(self.teachers, self.teacher_steps, self.inputs == "features", vote)
        parts, chosen, labels = engines.elect(student, private.under(mechanism), queried, election, context)
        if not len(labels):
            raise UsageError("The teachers agreed on no public sample; lower the threshold or use fewer teachers.")
        config = training.TrainingConfig(epochs=self.epochs, lr=self.lr, keep="last", batch=min(64, len(labels)))
        engines.train_on(student, queried.subset(chosen).relabelled(labels), "the answered samples", config, context)
        record = GnMaxVotes(
            mechanism, 1, self.teachers, self.noise, self.answers, self.threshold_noise if checked else None,
            self.queries if checked else None, True, FROM_SYSTEM,
        )  # fmt: skip
        account = account_of_votes(record, public.source, public.members, private.digests(), parts)
        done = {"mechanism": mechanism, "answered": len(labels), "epsilon": cost}
        return student.eval(), PassRecord({**done, PRIVATE: account.to_json()})
