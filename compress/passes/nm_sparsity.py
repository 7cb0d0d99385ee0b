"""2:4 sparsity: two of every four weights are zero, for processors that skip them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress import pruning, training
from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import PassRecord, PassTags
from compress.passes.reconstruct_options import RECONSTRUCT, REFIT_SAMPLES, Reconstruct, samples_to_refit
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn

PROFITS = frozenset({"cuda-tensorrt"})
"""Targets whose runtime has kernels for the pattern (NVIDIA Ampere and later, through TensorRT)."""


class NmSparsity(RecoveryTraining):
    """Set the two smallest of every four weights along a layer's inputs to zero, and train the others to compensate.

    The zeros are preserved in training and in the exported file, where TensorRT detects them. The original is the
    teacher in training.

    Papers: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021 (arXiv 2104.08378).

    When not to use it: for any other runtime. ONNX Runtime and OpenVINO multiply the zeros like other numbers, so
    nothing would be saved, and the pass declines unless `force` states that the file is for a machine that benefits.
    Not before a pass that trains or removes channels: both would break the pattern.

    Example:
        >>> NmSparsity(force=True).epochs
        6
    """

    name: ClassVar[str] = "nm_sparsity"
    version: ClassVar[int] = 3
    tags: ClassVar[PassTags] = PassTags(quick={"epochs": 1, "force": True})

    epochs: int = Field(default=6, ge=0, le=10_000, description="Passes over the train samples. 0 skips the training.")
    force: bool = Field(default=False, description="Whether to apply it for a target that does not benefit from it.")
    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return self.epochs > 0

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model for a target without such kernels is returned unchanged, declined.

        Raises:
            UsageError: there are no train or validation samples to train with, or only test samples.
            ModelError: the loss is not finite.
        """
        sparse = eval_copy(model)
        if context.target.name not in PROFITS and not self.force:
            return sparse, PassRecord.refused(
                f"the target {context.target.name} has no kernels that skip zeros, so nothing would be saved "
                f"(only {', '.join(sorted(PROFITS))} has)"
            )
        masks, declined = pruning.pattern_masks(sparse, context.sample(1))
        if not masks:
            return sparse, PassRecord.refused("it has no layer whose number of inputs is a multiple of four")

        def keep_zeros() -> None:
            # Gradients and momentum move masked weights away from zero, so training repeats this after every step.
            for weight, mask in masks.values():
                weight.data.mul_(mask.to(weight.device))

        keep_zeros()
        record = PassRecord({"pattern": "2:4", "layers": list(masks)}, tuple(declined))
        # This pass's own training counts as training that follows.
        follows = replace(context, training_follows=context.training_follows or self.trains)
        if refit := samples_to_refit(self.reconstruct, self.refit_samples, follows):
            record = pruning.refit_around_zeros(record, eval_copy(model), sparse, masks, context, refit)
        if not self.trains:
            return sparse, record
        trained = self._train(
            sparse, context, {"label_smoothing": 0.0}, "Training around zeros", context.teacher, None,
            training.Hooks(constrain=keep_zeros),
        )  # fmt: skip
        return sparse, PassRecord({**trained.done, **record.done}, (*trained.declined, *record.declined))
