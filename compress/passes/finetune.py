"""Recovery training on the labels alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn


class Finetune(RecoveryTraining):
    """Train the compressed model on the true labels.

    Cross-entropy, with a learning rate that warms up and then follows a cosine. The weights returned are those of the
    best epoch on validation data; test data is never seen.

    Papers: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015 (arXiv
    1506.02626) for retraining after pruning; Renda, Frankle and Carbin, "Comparing Rewinding and Fine-tuning",
    ICLR 2020 (arXiv 2003.02389) for why the learning rate should return to nearly its initial height.

    When not to use it: where the original is available as a teacher (`distill` takes the same time and loses less),
    without train samples, or where the training data differs from what the original was trained on.

    Example:
        >>> Finetune(epochs=3, lr=5e-4).optimizer
        'adamw'
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"epochs": 1})

    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all classes.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: there are no train or validation samples.
            ModelError: the loss is not finite.
        """
        trained = copy.deepcopy(model)
        return trained, self._train(trained, context, {"label_smoothing": self.label_smoothing}, "Fine-tuning")
