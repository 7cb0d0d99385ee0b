"""Parameters of passes that prune to a share of energy or latency."""

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
    """A pass that can choose by what the blocks cost in the precision that ships."""

    energy: float | None = Field(
        default=None, gt=0, lt=1,
        description="Target energy of one inference as a fraction of the original's, both in the precision that ships. "
        "Replaces macs.",
    )  # fmt: skip
    latency: float | None = Field(default=None, gt=0, lt=1, description="Target latency likewise. Replaces macs.")
    precision: Literal["float", "int8"] | None = Field(
        default=None,
        description="For energy and latency: precision of the file that ships. Default: what the later passes produce.",
    )
    threads: int = Field(default=1, ge=1, le=1024, description="For energy and latency: threads of the runtime.")
    loss_samples: int = Field(
        default=256, ge=16, le=100_000,
        description="For energy and latency: validation samples on which the loss of each narrowing is measured.",
    )  # fmt: skip

    def cost_goal(self, *, refit: bool, refit_samples: int) -> CostGoal | None:
        """Return the energy or latency goal, or None if the target is another one.

        Args:
            refit: whether the layers of the narrowed model are refitted.
            refit_samples: number of samples for the refit.
        """
        for quantity in COSTS:
            if (share := getattr(self, quantity)) is not None:
                return costs.CostGoal(
                    quantity, share, self.precision, costs.Conditions(threads=self.threads),
                    samples=self.loss_samples, refit_samples=refit_samples if refit else 0,
                )  # fmt: skip
        return None
