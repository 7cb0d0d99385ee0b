"""Training a linear head under differential privacy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from pydantic import Field

from certify.assessments.privacy.records import Choice, DpSgd, SourceOf
from compress import private as engines
from compress.core.context import PassContext
from compress.core.further_data import FurtherData
from compress.core.pass_protocol import PassRecord, PassTags
from compress.private.account import FROM_SYSTEM, PRIVATE, Account, sampling
from compress.private.budget import PrivateTraining, public_source

if TYPE_CHECKING:
    from torch import nn


class DpHead(PrivateTraining):
    """Train the last linear layer on private data under differential privacy; the layers below stay unchanged.

    The features come from public data: from the original's own training, or from `public`, on which they are trained
    first. Clipping is exact, since the gradient of a linear layer for one record is an outer product. Sampling and
    noise use the system's entropy, so no two runs give the same model.

    Papers: Abadi et al. 2016 (arXiv 1607.00133) for the training; Tramer and Boneh 2021 (arXiv 2011.11660) for
    features instead of end-to-end training.

    When not to use it: without features from public data; on so many records that training the whole network
    (`dp_finetune`) is better; where the model does not end in a linear layer.

    Example:
        >>> DpHead(epsilon=3.0).steps
        300
    """

    name: ClassVar[str] = "dp_head"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"steps": 20, "epsilon": 30.0, "delta": 1e-3}, noisy=True)

    lr: float = Field(default=0.1, gt=0, le=100, description="Learning rate of Adam; it follows a cosine.")
    public: str | None = Field(
        default=None, description="Public data to train the features on first. Default: keep the original's features."
    )
    public_epochs: int = Field(default=4, ge=1, le=10_000, description="Passes over the public data.")

    @property
    def further_data(self) -> FurtherData | None:
        """See :attr:`Pass.further_data`."""
        return public_source(self.public)

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: there are no train samples, or no noise level keeps the budget.
            DataError: the public data contains private or test samples.
            ModelError: the model does not end in a linear layer with one output per class.
        """
        private, classes = context.data.part("train", self.name), len(context.data.classes)
        schedule = self.schedule(context.place, self.lr, len(private))
        trained = copy.deepcopy(model).eval()
        path = engines.linear_head(trained, classes, context.preprocess)
        # Missing or overlapping public data are refused before any private record is read.
        public = None if self.public is None else engines.public_data(self.public, context, private, self.name)
        width = cast("nn.Linear", trained.get_submodule(path)).in_features
        scale, shift = np.ones(width), np.zeros(width)
        if public is not None:
            engines.teach_features(trained, path, public, self.public_epochs, context)
            # Scale by public samples, because statistics of private records would have a privacy cost of their own.
            few = public.split.subset(np.arange(min(engines.PLENTY, len(public.split))))
            scale, shift = engines.scale_of(engines.read_features(trained, path, few, context.preprocess))
        # Ties the reads to the mechanism, so that the statement can check that nothing else saw the records.
        own = private.under(schedule.mechanism)
        read = engines.read_features(trained, path, own, context.preprocess)
        head = engines.train_head(read, own.labels, classes, schedule, scale, shift)
        import torch

        # The values are set below; the usual initialisation would only advance torch's generator.
        layer = torch.nn.utils.skip_init(torch.nn.Linear, width, classes)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(head.weight))
            layer.bias.copy_(torch.from_numpy(head.bias))
        engines.put_head(trained, path, layer)
        mechanism = DpSgd(
            schedule.mechanism, 1, schedule.steps, schedule.noise, schedule.clip, "record", 1,
            sampling(schedule.rate, len(private)), FROM_SYSTEM, (), head.gradient_error,
        )  # fmt: skip
        account = Account(
            sgd=mechanism,
            sizes=head.sizes if schedule.rate < 1 else (),
            sources=() if public is None else (_source(public.source),),
            choices=(*self.choices(), *(() if public is None else (Choice("features", "public"),))),
            members=() if public is None else (public.members,),
        )
        done = {"mechanism": schedule.mechanism, "head": path, "epsilon": self.spent(schedule), "noise": schedule.noise}
        return trained.eval(), PassRecord({**done, PRIVATE: account.to_json()})


def _source(source: SourceOf) -> SourceOf:
    return SourceOf("features", source.name, source.status, source.digest)
