"""Parameters of adversarial training, shared by the passes that train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from compress import training
from compress.core.context import PassContext
from compress.training.recovery import RecoveryTraining

if TYPE_CHECKING:
    from torch import nn


class AdversarialOptions(RecoveryTraining):
    """A pass that can train on adversarial images; see :mod:`compress.training.adversary`."""

    adversarial: Literal["none", "pgd", "free"] = Field(
        default="none", description="Whether and how training images are attacked."
    )
    adversarial_eps: float = Field(default=2.0, gt=0, le=64, description="Largest change in grey levels, of 255.")
    adversarial_steps: int = Field(
        default=4, ge=1, le=1000, description="Gradient steps per attack; for free, training steps per batch."
    )

    def _attacks(self) -> dict[str, Any]:
        """Return the fields of the training config."""
        return {name: getattr(self, name) for name in AdversarialOptions.__annotations__}

    def _under_attack(self, model: nn.Module, context: PassContext) -> dict[str, Any]:
        """Return the accuracy on clean and on attacked validation samples; empty without adversarial training."""
        if self.adversarial == "none":
            return {}
        validation = context.data.part("validation", self.name)
        # An upper bound: a stronger attack may find more, hence the name of the field.
        clean, robust = training.robust_accuracy(
            model.eval(), validation, context.preprocess, self.adversarial_eps, self.adversarial_steps, context.seed
        )
        return {**self._attacks(), "clean_accuracy": clean, "robust_accuracy_at_most": robust}
