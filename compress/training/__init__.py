"""Training: optimisation, distillation, data loading, several devices, and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.training.adversary import robust_accuracy as robust_accuracy
    from compress.training.config import TrainingConfig as TrainingConfig
    from compress.training.optimization import NO_HOOKS as NO_HOOKS
    from compress.training.optimization import Hooks as Hooks
    from compress.training.remedies import probe as probe
    from compress.training.training import train as train


__getattr__, __dir__ = door(
    __name__,
    {
        "adversary": ("robust_accuracy",),
        "config": ("TrainingConfig",),
        "optimization": ("Hooks", "NO_HOOKS"),
        "remedies": ("probe",),
        "training": ("train",),
    },
)
