"""The parameters by which a pass is told to reconstruct; the same in every pass that can."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from compress.core.context import PassContext

Reconstruct = bool | Literal["auto"]

RECONSTRUCT: Any = Field(
    default="auto",
    description="Whether layers are refitted to the original's activations, on samples without labels; auto: where "
    "nothing is trained afterwards.",
)
REFIT_SAMPLES: Any = Field(
    default=1000, ge=16, le=1_000_000, description="Train samples, without their labels, that layers are refitted on."
)


def samples_to_refit(asked: Reconstruct, samples: int, context: PassContext) -> int:
    """How many samples a pass is to refit on; 0 where it is to leave the layers alone.

    Args:
        asked: as the recipe says.
        samples: as the recipe says.
        context: which knows whether training follows.
    """
    wanted = not context.training_follows if asked == "auto" else bool(asked)
    return samples if wanted else 0
