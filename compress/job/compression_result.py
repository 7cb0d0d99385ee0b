"""What a whole job gives back."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.efficiency.grade import Grade
from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.graded import Result
from compress.job.job import MODEL
from compress.job.lineage import Lineage
from compress.job.output import certify_command
from compress.job.recipe import Recipe


@dataclass(frozen=True, repr=False)
class CompressionResult:
    """A compressed model, with its certificate if it was measured.

    Attributes:
        out: folder that everything lies in.
        certified: certificate, profile and grade (see ``certify.Result``); None where nothing was measured.
        lineage: how the model came about.
        recipe: what was asked for.
        loss: relative loss in percent, its interval of the confidence that the recipe asks for; None where no sample
            was scored.
        files: what was written, by name.

    Example:
        >>> import compress
        >>> result = compress.run("resnet18")  # doctest: +SKIP
        >>> result.files["model.onnx"], result.loss  # doctest: +SKIP
    """

    out: Path
    certified: Result | None
    lineage: Lineage
    recipe: Recipe
    loss: Estimate | None
    files: Mapping[str, Path]

    @property
    def grade(self) -> Grade:
        """The letter, or why there is none."""
        return self.measured().grade

    @property
    def profile(self) -> Profile:
        """Every figure with its interval, and every guard."""
        return self.measured().profile

    @property
    def energy_ratio(self) -> Estimate | None:
        """Energy of the compressed model over that of the original; None where there was no meter."""
        return self.measured().energy_ratio

    def to_dataframe(self) -> Any:
        """Every figure as a row of a ``pandas.DataFrame``; see ``certify.Result.to_dataframe``."""
        return self.measured().to_dataframe()

    def measured(self) -> Result:
        """What the referee found.

        Raises:
            UsageError: nothing was measured; says with which command it is.
        """
        if self.certified is None:
            raise UsageError(f"The model was not measured; certify it with: {self.certify_command}")
        return self.certified

    @property
    def certify_command(self) -> str:
        """The command that measures, grades and seals what lies in :attr:`out`."""
        return certify_command(self.out, self.lineage)

    @property
    def within_budget(self) -> bool | None:
        """Whether the upper end of :attr:`loss` is within the recipe's budget; None where there is none."""
        return None if self.loss is None else self.loss.high <= self.recipe.budget.max_loss_percent

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        files = {"files": {name: str(path) for name, path in self.files.items()}, "certify": self.certify_command}
        return {
            **(files if self.certified is None else self.certified.to_json()),
            "within_budget": self.within_budget,
            "lineage": self.lineage.to_json(),
        }

    def __repr__(self) -> str:
        done = ", ".join(row.name for row in self.lineage.rows if row.record["done"]) or "no pass"
        found = f"not measured; {self.files[MODEL]}" if self.certified is None else repr(self.certified)
        return f"CompressionResult({self.lineage.model['spec']} after {done}: {found})"

    def _repr_html_(self) -> str:
        if self.certified is None:
            return f"<p>{html.escape(repr(self))}</p>"
        return self.certified._repr_html_()
