"""Recipes: which passes are applied, in what order, within which budget. Strict YAML."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import Document, parse_document, read_document
from compress import passes
from compress.core.pass_protocol import Pass, TorchPass

MAX_BYTES = 64 * 1024
SUFFIXES = (".yaml", ".yml")


class Budget(BaseModel):
    """What the compressed model may cost in accuracy."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    max_loss_percent: float = Field(
        default=5.0, ge=0, le=100, description="Largest relative accuracy loss, in percent."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence with which the loss is to be shown.")


class Workload(BaseModel):
    """How the model will be run."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    batch: int = Field(default=1, ge=1, le=4096, description="Samples in one inference.")
    runtime: str = Field(default="onnxruntime-cpu", min_length=1, max_length=200, description="Name of the runtime.")


class _Written(BaseModel):
    """What stands in a recipe's file."""

    name: str = ""
    description: str = ""
    budget: Budget = Budget()
    workload: Workload = Workload()
    passes: list[Any] = Field(min_length=1)


@dataclass(frozen=True)
class Recipe:
    """An ordered list of configured passes.

    Attributes:
        name: of the recipe; that of its file unless it says otherwise.
        description: one sentence.
        budget: largest accuracy loss.
        workload: batch and runtime.
        passes: in the order in which they are applied; torch passes stand before ONNX passes.

    Example:
        >>> [each.name for each in load("int8").passes]
        ['trim_kernels', 'space_to_depth', 'quantize_static']
    """

    name: str
    description: str
    budget: Budget
    workload: Workload
    passes: tuple[Pass, ...]

    def to_json(self) -> dict[str, Any]:
        """Every value, defaults included, as JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "budget": self.budget.model_dump(mode="json"),
            "workload": self.workload.model_dump(mode="json"),
            "passes": [{"pass": p.name, "version": p.version, "config": p.config()} for p in self.passes],
        }

    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON of :meth:`to_json`."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()


def recipe_folder() -> Path:
    """The folder of the shipped recipes: inside this package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def names() -> tuple[str, ...]:
    """Names of the shipped recipes."""
    return tuple(sorted(path.stem for path in recipe_folder().glob("*.yaml")))


def load(name: str | Path) -> Recipe:
    """Read a shipped recipe by name, or any by the path of its YAML file.

    Raises:
        UsageError: there is no such recipe, or the file is malformed; names file, line and nearest known key.
    """
    path = Path(name)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        return _recipe(read_document(path, MAX_BYTES), path.stem)
    if str(name) not in names():
        raise unknown_name("recipe", str(name), names(), "A recipe is one of these names or the path of a .yaml file.")
    return _recipe(read_document(recipe_folder() / f"{name}.yaml", MAX_BYTES), str(name))


def parse(text: str, where: str, default_name: str = "recipe") -> Recipe:
    """Parse the text of a recipe.

    Args:
        text: YAML.
        where: file name for the errors.
        default_name: name of a recipe that states none.

    Raises:
        UsageError: see :func:`load`.
    """
    return _recipe(parse_document(text, where), default_name)


def _recipe(document: Document, default_name: str) -> Recipe:
    stated = {key: value for key, value in document.values.items() if value is not None}
    written = validated(_Written, stated, "the recipe", document.place)
    return Recipe(
        name=written.name or default_name,
        description=written.description,
        budget=written.budget,
        workload=written.workload,
        passes=tuple(_passes(written.passes, document)),
    )


def _passes(items: list[Any], document: Document) -> Iterator[Pass]:
    """The configured passes; torch passes must stand before ONNX passes."""
    last: Pass | None = None
    for number, item in enumerate(items):
        place = document.place("passes", number)
        named = {item: None} if isinstance(item, str) else item
        if not isinstance(named, dict) or len(named) != 1:
            raise UsageError(f"{place}: each pass is a name, or one name with its parameters under it.")
        ((name, config),) = named.items()
        try:
            kind = passes.find(name)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from error
        parameters = {} if config is None else config
        found = validated(kind, parameters, name, functools.partial(document.place, "passes", number, name))
        if last is not None and last.stage == "onnx" and found.stage == "torch":
            raise UsageError(f"{place}: {name} works on the torch model and can't follow {last.name}; put it before.")
        if isinstance(last, TorchPass) and last.final and found.stage == "torch":
            raise UsageError(f"{place}: {name} can't work on what {last.name} leaves; put it before.")
        last = found
        yield found
