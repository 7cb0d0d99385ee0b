"""What a pass that trains says about attacked images to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from compress import training
from compress.core.context import PassContext
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn


class AdversarialOptions(RecoveryTraining):
    """A pass that may learn from attacked images; see :mod:`compress.training.adversary`."""

    adversarial: Literal["none", "pgd", "free"] = Field(
        default="none", description="Whether images are attacked before they are learnt from, and how."
    )
    adversarial_eps: float = Field(default=2.0, gt=0, le=64, description="Largest change of a grey level, of 255.")
    adversarial_steps: int = Field(
        default=4, ge=1, le=1000, description="Gradients of an attack; for free, steps on each batch."
    )

    def _attacks(self) -> dict[str, Any]:
        """Fields of the training's config."""
        return {name: getattr(self, name) for name in AdversarialOptions.__annotations__}

    def _under_attack(self, model: nn.Module, context: PassContext) -> dict[str, Any]:
        """Accuracy on validation samples, untouched and attacked; nothing where no attack was learnt from."""
        if self.adversarial == "none":
            return {}
        validation = context.data.part("validation", self.name)
        clean, robust = training.robust_accuracy(
            model.eval(), validation, context.preprocess, self.adversarial_eps, self.adversarial_steps, context.seed
        )
        return {**self._attacks(), "clean_accuracy": clean, "robust_accuracy_at_most": robust}
