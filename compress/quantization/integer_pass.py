"""Common parameters of the passes that round weights and activations to 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from compress.core.pass_protocol import Pass
from compress.core.targets import ChosenTarget, IntegerType, Target, choose
from compress.quantization.post_training.qdq import Operators


class IntegerPass(Pass):
    """A pass that stores weights and activations as 8-bit integers."""

    target: ChosenTarget | None = Field(
        default=None,
        description="Processor or runtime that determines the integer types. Default: the job's.",
    )
    operators: Operators = Field(
        default="auto", description="Operators to quantize: those with weights, all, or by the kind of network."
    )
    per_channel: bool = Field(default=True, description="Whether each output channel of a weight has its own scale.")
    activation_type: IntegerType | None = Field(
        default=None, description="Integer type of activations. Default: the target's."
    )
    reduce_range: bool | None = Field(
        default=None, description="Whether weights use only 7 bits. Default: where the target saturates."
    )
    samples: int = Field(default=256, ge=1, le=100_000, description="Number of calibration samples.")
    percentile: float = Field(
        default=99.99,
        gt=50,
        le=100,
        description="For percentile: share of an activation's values inside its range, in %.",
    )
    keep_first: bool = Field(default=False, description="Whether the first layer with weights stays float.")
    keep_last: bool = Field(default=False, description="Whether the last layer with weights stays float.")

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        return {"bytes": 8 / 32}

    def target_for(self, of_job: Target) -> Target:
        """Return the target with the types that the parameters choose.

        Args:
            of_job: target of the job, used if the pass names none.
        """
        target = of_job if self.target is None else choose(self.target)
        return replace(
            target,
            activation_type=self.activation_type or target.activation_type,
            reduce_range=target.reduce_range if self.reduce_range is None else self.reduce_range,
        )
