"""Parameters of remedies for groups of people, shared by the passes that train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from compress import training
from compress.core.context import PassContext
from compress.passes.adversarial_options import AdversarialOptions

if TYPE_CHECKING:
    from torch import nn


class GroupOptions(AdversarialOptions):
    """A pass that can apply remedies for groups; see :mod:`compress.training.remedies`."""

    balance: str | None = Field(
        default=None, description="Column of groups; all cells of group and label are drawn equally often."
    )
    worst_group: str | None = Field(
        default=None, description="Column of groups; the loss on labels is weighted towards the worst group."
    )
    forget: str | None = Field(
        default=None, description="Column of groups that the model's representation should no longer predict."
    )
    forget_strength: float = Field(default=1.0, gt=0, le=1000, description="Factor of the reversed gradient.")
    probe: str | None = Field(
        default=None,
        description="Column of groups; the record states how well a linear probe predicts it [default: forget].",
    )

    @model_validator(mode="after")
    def _of_one_column(self) -> GroupOptions:
        if len(columns := {self.balance, self.worst_group, self.forget} - {None}) > 1:
            names = ", ".join(sorted(map(str, columns)))
            raise ValueError(f"balance, worst_group and forget must name one column of groups, got {names}")
        return self

    def _remedies(self) -> dict[str, Any]:
        """Return the fields of the training config."""
        return {name: getattr(self, name) for name in ("balance", "worst_group", "forget", "forget_strength")}

    def _groups_after(self, model: nn.Module, context: PassContext) -> dict[str, Any]:
        """Return the remedies in use, and the result of the probe with ``probe`` or ``forget``."""
        done = {name: getattr(self, name) for name in ("balance", "worst_group", "forget") if getattr(self, name)}
        if self.forget is not None:
            done["forget_strength"] = self.forget_strength
        column = self.probe or self.forget
        if column is not None:
            # Fit the probe on one part and score it on the other, or the score would only measure what it memorised.
            train, held_out = (context.data.part(name, self.name) for name in ("train", "validation"))
            result = training.probe(model.eval(), train, held_out, context.preprocess, column)
            done["probe"] = {"column": column, **result}
        return done
