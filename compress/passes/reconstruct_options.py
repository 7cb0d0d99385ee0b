"""Parameters of layer-wise reconstruction, shared by the passes that support it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from compress.core.context import PassContext

Reconstruct = bool | Literal["auto"]

RECONSTRUCT: Any = Field(
    default="auto",
    description="Whether layers are refitted to the original's activations, on unlabelled samples. auto: where no "
    "training follows.",
)
REFIT_SAMPLES: Any = Field(
    default=1000, ge=16, le=1_000_000, description="Train samples, without labels, for refitting layers."
)


def samples_to_refit(setting: Reconstruct, samples: int, context: PassContext) -> int:
    """Return the number of samples to refit on, or 0 if the layers are not refitted.

    Args:
        setting: value of ``reconstruct`` in the recipe.
        samples: value of ``refit_samples`` in the recipe.
        context: context of the pass, which knows whether training follows.
    """
    wanted = not context.training_follows if setting == "auto" else bool(setting)
    return samples if wanted else 0
