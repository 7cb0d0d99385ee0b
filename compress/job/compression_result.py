"""Result of a whole job."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.efficiency.grade import Grade
from certify.core.data_use.guard import Use
from certify.core.errors import UsageError
from certify.core.estimate import Estimate
from certify.workflows.certification_result import Result
from compress.job.job import MODEL
from compress.job.lineage import Lineage
from compress.job.output import certify_command
from compress.job.recipe import Recipe


@dataclass(frozen=True, repr=False)
class CompressionResult:
    """A compressed model, with its certificate if it was measured.

    Attributes:
        out: folder with all files.
        certified: certificate, profile and grade (see ``certify.Result``); None if nothing was measured.
        lineage: how the model was made.
        recipe: the recipe of the job.
        loss: relative loss in percent, with an interval of the confidence that the recipe asks for; None if no sample
            was scored.
        files: written files, by name.
        use: use of the data, if a policy governs them.
        data: specification of the data, which the public lineage of private data withholds.

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
    use: Use | None = None
    data: str = ""

    @property
    def grade(self) -> Grade:
        """The letter, or the reason why there is none."""
        return self.measured().grade

    @property
    def profile(self) -> Profile:
        """All figures with their intervals, and all guards."""
        return self.measured().profile

    @property
    def energy_ratio(self) -> Estimate | None:
        """Energy of the compressed model divided by that of the original; None without a meter."""
        return self.measured().energy_ratio

    def to_dataframe(self) -> Any:
        """Return every figure as a row of a ``pandas.DataFrame``; see ``certify.Result.to_dataframe``."""
        return self.measured().to_dataframe()

    def measured(self) -> Result:
        """Return the referee's result.

        Raises:
            UsageError: nothing was measured; the error names the command that measures it.
        """
        if self.certified is None:
            raise UsageError(f"The model was not measured; certify it with: {self.certify_command}")
        return self.certified

    @property
    def certify_command(self) -> str:
        """The command that measures, grades and seals the model in :attr:`out`."""
        return certify_command(self.out, self.lineage, self.data, self.use)

    @property
    def within_budget(self) -> bool | None:
        """Whether the upper end of :attr:`loss` is within the recipe's budget; None without a loss."""
        return None if self.loss is None else self.loss.high <= self.recipe.budget.max_loss_percent

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
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
