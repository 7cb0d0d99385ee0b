"""Outcome of a search: the trials, the best recipe, and the plot of cost against loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from certify.core.files import write_text
from certify.present.charts.pareto import Point, pareto_plot
from compress.job.compression_result import CompressionResult
from compress.job.recipe import Recipe
from compress.search.study import Trial

RECIPE, PLOT, TRIALS = "recipe.yaml", "search.svg", "search.json"


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        trials: all finished trials, in order.
        best: the cheapest trial within the bound; None unless one is shown to cost less than the original.
        recipe: recipe that reproduces it; None without one.
        objective: minimised quantity.
        max_loss_percent: the bound.
        files: written files, by name.
        job: result of the recipe's job, measured and certified once; None if that was skipped.

    Example:
        >>> import compress
        >>> found = compress.search_recipe("resnet18", max_loss=1.0, trials=20)  # doctest: +SKIP
        >>> found.best.cost, found.recipe.passes  # doctest: +SKIP
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    recipe: Recipe | None
    objective: str
    max_loss_percent: float
    files: Mapping[str, Path]
    job: CompressionResult | None = None

    @property
    def front(self) -> tuple[Trial, ...]:
        """Measured trials that no other trial beats in both cost and loss, cheapest first."""
        return front(self.trials)

    @property
    def closest(self) -> Trial | None:
        """The trial within the bound whose measured cost is least, whether or not it is below the original's."""
        measured = [each for each in self.trials if each.feasible and each.cost is not None]
        return min(measured, key=lambda each: float(each.cost or 0), default=None)

    def plot(self) -> str | None:
        """Plot cost against loss of the measured trials, with both intervals, as SVG; None without measured trials."""
        measured = [each for each in self.trials if each.cost is not None and each.loss is not None]
        if not measured:
            return None
        best = {each.number for each in self.front}
        chosen = None if self.best is None else self.best.number
        points = [
            Point(f"trial {each.number}", "chosen:" if each.number == chosen else "", each.cost, each.loss,
                  each.number in best)
            for each in measured if each.cost is not None and each.loss is not None
        ]  # fmt: skip
        return pareto_plot(points, is_ratio=True, quantity=self.objective)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "objective": self.objective,
            "max_loss_percent": self.max_loss_percent,
            "trials": [each.to_json() for each in self.trials],
            "best": None if self.best is None else self.best.number,
            "front": [each.number for each in self.front],
            "recipe": None if self.recipe is None else self.recipe.to_json(),
            "files": {name: str(path) for name, path in self.files.items()},
            "job": None if self.job is None else self.job.to_json(),
        }


def front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return measured trials that no other beats in both cost and loss, cheapest first; the first of equal ones."""
    measured = [each for each in trials if each.cost is not None and each.loss is not None]
    undominated: list[Trial] = []
    least = float("inf")
    # Sorted by cost, because a trial is on the front if it loses less than every cheaper one.
    for each in sorted(measured, key=lambda t: (float(t.cost or 0), float(t.loss or 0), t.number)):
        if each.loss is not None and each.loss.value < least:
            least = each.loss.value
            undominated.append(each)
    return tuple(undominated)


def recipe_text(recipe: Recipe, found: str) -> str:
    """Return a recipe as YAML for ``leanmark compress --recipe``, with the result as a comment."""
    values = recipe.to_json()
    values["passes"] = [{name: _plain(parameters)} for each in values["passes"] for name, parameters in each.items()]
    comment = "".join(f"# {line}\n" for line in found.splitlines())
    return comment + yaml.safe_dump(values, sort_keys=False, width=110)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def write(result: SearchResult, folder: Path) -> dict[str, Path]:
    """Write recipe, plot and trials, as far as they exist; files of an earlier search are removed."""
    files = {name: folder / name for name in (RECIPE, PLOT, TRIALS)}
    drawing = result.plot()
    texts = {
        RECIPE: None if result.recipe is None else recipe_text(result.recipe, _found(result)),
        PLOT: drawing,
        TRIALS: json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        if text is None:
            files.pop(name).unlink(missing_ok=True)
        else:
            write_text(files[name], text)
    return files


def _found(result: SearchResult) -> str:
    best = result.best
    if best is None or best.cost is None or best.loss is None:
        return ""
    return (
        f"Trial {best.number} of {len(result.trials)}: {best.cost} of the original's {result.objective} and a loss of\n"
        f"{best.loss}, both on the validation data used for the choice; a certificate states them on test data."
    )
