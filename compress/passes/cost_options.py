"""The parameters by which a pass is told to reach a share of energy or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compress import costs
from compress.core.pass_protocol import TorchPass

if TYPE_CHECKING:
    from compress.costs.narrowing import CostGoal

COSTS: tuple[Literal["energy", "latency"], ...] = ("energy", "latency")
OPTIONS = frozenset({*COSTS, "precision", "threads", "loss_samples"})


class CostOptions(TorchPass):
    """A pass that can choose by what blocks cost in the form that ships."""

    energy: float | None = Field(
        default=None, gt=0, lt=1,
        description="Target energy of an inference as a fraction of the original's in the form that ships, instead of "
        "macs.",
    )  # fmt: skip
    latency: float | None = Field(default=None, gt=0, lt=1, description="Target time likewise, instead of macs.")
    precision: Literal["float", "int8"] | None = Field(
        default=None,
        description="For energy and latency: what the file ships in; by default what the passes that follow make.",
    )
    threads: int = Field(default=1, ge=1, le=1024, description="For energy and latency: threads of the runtime.")
    loss_samples: int = Field(
        default=256, ge=16, le=100_000,
        description="For energy and latency: validation samples on which each narrowing's loss is measured.",
    )  # fmt: skip

    def cost_goal(self, *, refit: bool, refit_samples: int) -> CostGoal | None:
        """The energy or time that is asked for; None for another target.

        Args:
            refit: whether the narrowed model's layers are refitted.
            refit_samples: that they are refitted on.
        """
        for quantity in COSTS:
            if (share := getattr(self, quantity)) is not None:
                return costs.CostGoal(
                    quantity, share, self.precision, costs.Conditions(threads=self.threads),
                    samples=self.loss_samples, refit_samples=refit_samples if refit else 0,
                )  # fmt: skip
        return None
