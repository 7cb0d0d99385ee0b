"""Parameters of passes that choose by a share of energy or latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from compress import costs
from compress.core.pass_protocol import Pass, TorchPass

if TYPE_CHECKING:
    from compress.costs.goal import CostGoal

COSTS: tuple[Literal["energy", "latency"], ...] = ("energy", "latency")
OPTIONS = frozenset({*COSTS, "precision", "threads", "loss_samples"})


def chooses_by_cost(each: Pass) -> bool:
    """Return whether a pass has a target of energy or latency, and so measures what the blocks of a model cost."""
    return bool(each.goals.keys() & set(COSTS))


class CostTarget(Pass):
    """A pass that can choose by what the blocks of a model cost."""

    energy: float | None = Field(
        default=None, gt=0, lt=1, description="Target energy of one inference as a fraction of the float file's."
    )
    latency: float | None = Field(
        default=None, gt=0, lt=1, description="Target latency as a fraction of the float file's."
    )
    threads: int = Field(default=1, ge=1, le=1024, description="For energy and latency: threads of the runtime.")
    loss_samples: int = Field(
        default=256, ge=16, le=100_000,
        description="For energy and latency: validation samples on which the loss of each block is measured.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_cost(self) -> CostTarget:
        if all(getattr(self, name) is not None for name in COSTS):
            raise ValueError(f"{' and '.join(COSTS)} are both given; choose one target")
        return self

    def cost_goal(self, runtime: str | None = None, **more: Any) -> CostGoal | None:
        """Return the energy or latency goal, or None if neither is requested.

        Args:
            runtime: runtime in which costs are measured; None for the default one.
            more: further fields of the goal.
        """
        for quantity in COSTS:
            if (share := getattr(self, quantity)) is not None:
                conditions = costs.Conditions(**({"runtime": runtime} if runtime else {}), threads=self.threads)
                return costs.CostGoal(quantity, share, conditions=conditions, samples=self.loss_samples, **more)
        return None


class CostOptions(CostTarget, TorchPass):
    """A pass that can remove parts of a model by what its blocks cost in the precision that ships."""

    energy: float | None = Field(
        default=None, gt=0, lt=1,
        description="Target energy of one inference as a fraction of the original's, both in the precision that ships. "
        "Replaces macs.",
    )  # fmt: skip
    latency: float | None = Field(default=None, gt=0, lt=1, description="Target latency as a fraction. Replaces macs.")
    precision: Literal["float", "int8"] | None = Field(
        default=None,
        description="For energy and latency: precision of the file that ships, the same for all blocks. Default: what "
        "the later passes produce.",
    )
