"""Common parts of the passes that train: the schedule, the parts of the data, and the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from compress import training
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord, TorchPass

if TYPE_CHECKING:
    from torch import nn

    from certify.data import Dataset, Split
    from compress.training.optimization import Hooks

FLIPPED_FROM = 64
"""Size in pixels; larger images are photographs, which may be mirrored, unlike digits and letters."""


class RecoveryTraining(TorchPass):
    """A pass that trains the model; subclasses define the loss."""

    epochs: int = Field(default=6, ge=1, le=10_000, description="Passes over the train samples.")
    lr: float = Field(default=1e-3, gt=0, le=10, description="Largest learning rate.")
    batch: int = Field(default=64, ge=2, le=65_536, description="Samples per step.")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="Optimizer.")
    weight_decay: float = Field(default=0.02, ge=0, le=1, description="Weight decay.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    augment: bool = Field(default=True, description="Whether train images are randomly shifted by a few pixels.")
    flip: bool | None = Field(
        default=None, description="Whether half of them are mirrored. Default: images of more than 64 pixels."
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Epoch whose weights are returned: the best on validation data, or the last.",
    )

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return True

    def _train(
        self,
        model: nn.Module,
        context: PassContext,
        settings: dict[str, Any],
        description: str,
        teacher: nn.Module | None = None,
        unlabelled: Split | None = None,
        hooks: Hooks | None = None,
    ) -> PassRecord:
        """Train a model in place.

        Args:
            model: model to train.
            context: context of the pass.
            settings: fields of the training config that the schedule does not contain.
            description: label of the progress bar.
            teacher: model whose outputs the student follows, or None.
            unlabelled: samples that are learnt from the teacher's outputs alone.
            hooks: callbacks inside each step.

        Raises:
            UsageError: there are no train or validation samples.
            ModelError: the loss is not finite.
        """
        for part in ("train", "validation"):
            context.data.part(part, self.name)
        schedule = {name: getattr(self, name) for name in RecoveryTraining.model_fields}
        flip = self.flip if self.flip is not None else min(context.data.input_size) > FLIPPED_FROM
        result = training.train(
            model,
            cast("Dataset", context.data),  # training only uses the parts that a pass may see
            context.preprocess,
            training.TrainingConfig(**{**schedule, "flip": flip}, **settings),
            teacher=teacher,
            unlabelled=unlabelled,
            seed=context.seed,
            deadline=context.deadline(),
            progress=context.progress,
            callbacks=context.callbacks,
            device=context.device,
            description=description,
            hooks=hooks or training.NO_HOOKS,
            resume=None if context.workspace is None else context.workspace / f"{self.name}.training",
        )
        done = {
            "epochs_done": result.epochs_done,
            "best_epoch": result.best_epoch,
            "validation_accuracy": result.validation_accuracy,
            "flip": flip,
            "reason": result.reason,
        }
        left_out = self.epochs - result.epochs_done
        declined = (Declined(f"{left_out} of {self.epochs} epochs", result.reason),) if left_out > 0 else ()
        return PassRecord(done, declined)
