"""Recovery training with the original as the teacher."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from certify.errors import UsageError
from compress.passes.base import Declined, PassContext, PassRecord, TorchPass

if TYPE_CHECKING:
    from torch import nn

    from certify.data import Dataset

FLIPPED_FROM = 64
"""Pixels; larger pictures are photographs, which may be mirrored; digits and letters may not."""


class Distill(TorchPass):
    """Train the compressed model to give the original's answers, softened, beside the true labels.

    The loss is `cross-entropy + alpha * temperature^2 * KL(teacher || student)`, the second part on outputs softened
    by the temperature; the teacher is the untouched original. The learning rate rises for a while and then falls
    along a cosine. The weights that come back are those of the best epoch on validation data; test data is never seen.

    Papers: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531);
    Loshchilov and Hutter 2017 (arXiv 1608.03983) for the cosine schedule.

    When not to use it: without train samples, or where the training data is not what the original was trained for
    (it then unlearns what the data does not show).
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 1

    epochs: int = Field(6, ge=1, le=10_000, description="Passes over the train samples.")
    lr: float = Field(1e-3, gt=0, le=10, description="Largest learning rate.")
    batch: int = Field(64, ge=2, le=65_536, description="Samples in one step.")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="What turns gradients into steps.")
    alpha: float = Field(1.0, ge=0, le=1000, description="Weight of the teacher's answers beside that of the labels.")
    temperature: float = Field(4.0, ge=1, le=100, description="How much the answers are softened.")
    weight_decay: float = Field(0.02, ge=0, le=1, description="Pull of the weights towards 0.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    augment: bool = Field(True, description="Whether train samples are shifted by a few pixels at random.")
    flip: bool | None = Field(
        None, description="Whether half of them are mirrored; by default pictures of more than 64 pixels are."
    )

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: there are no train or validation samples, or there is no teacher.
            ModelError: the loss is not finite.
        """
        from compress.training import TrainingConfig, train

        for part in ("train", "validation"):
            context.data.part(part, self.name)
        if context.teacher is None:
            raise UsageError("distill needs the original as its teacher, and this job has none; leave the pass out.")
        settings = self.model_dump()
        if settings["flip"] is None:
            settings["flip"] = min(context.data.input_size) > FLIPPED_FROM
        student = copy.deepcopy(model)
        result = train(
            student,
            cast("Dataset", context.data),  # training uses the parts that a pass may see, and no others
            context.preprocess,
            TrainingConfig(**settings, label_smoothing=0.0),
            teacher=context.teacher,
            seed=context.seed,
            deadline=context.deadline(),
            progress=context.progress,
            device=context.device,
            description="Distilling",
        )
        done = {
            "epochs_done": result.epochs_done,
            "best_epoch": result.best_epoch,
            "validation_accuracy": result.validation_accuracy,
            "flip": settings["flip"],
            "reason": result.reason,
        }
        left_out = self.epochs - result.epochs_done
        declined = (Declined(f"{left_out} of {self.epochs} epochs", result.reason),) if left_out > 0 else ()
        return student, PassRecord(done, declined)
