"""Recipes: the passes to apply, their order, and the accuracy budget. Strict YAML, or the same as a dict."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.core.validation import validated
from certify.core.yaml_document import parse_document, read_document
from certify.measure.plan import MAX_BATCH
from compress import passes
from compress.core.pass_protocol import Pass, TorchPass
from compress.job.recipe_text import RecipeText, named_pass, with_settings

if TYPE_CHECKING:
    from certify.data import Dataset

MAX_BYTES = 64 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
HINT = "A recipe is one of these names or the path of a .yaml file."


class Budget(BaseModel):
    """Accuracy budget of the compressed model."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    max_loss_percent: float = Field(
        default=5.0, ge=0, le=100, description="Maximum relative accuracy loss, in percent."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence with which the loss must be shown.")


class Workload(BaseModel):
    """How the model will be run."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    batch: int = Field(default=1, ge=1, le=MAX_BATCH, description="Samples per inference.")
    runtime: str = Field(default="onnxruntime-cpu", min_length=1, max_length=200, description="Name of the runtime.")


class _Written(BaseModel):
    """Contents of a recipe file; :mod:`compress.job.recipe_text` resolves the first two keys."""

    extends: Any = None
    set: Any = None
    name: str = ""
    description: str = ""
    budget: Budget = Budget()
    workload: Workload = Workload()
    passes: list[Any] = Field(min_length=1)


@dataclass(frozen=True)
class Recipe:
    """An ordered list of configured passes.

    Attributes:
        name: name of the recipe; by default that of its file.
        description: one sentence.
        budget: maximum accuracy loss.
        workload: batch and runtime.
        passes: passes in order of application; torch passes precede ONNX passes.
        extends: names of the recipes that it extends, the nearest first.
        settings: overridden values, as ``PASS.PARAMETER=VALUE``.

    Example:
        >>> [each.name for each in load("int8").passes]
        ['trim_kernels', 'space_to_depth', 'pad_channels', 'quantize_static']
    """

    name: str
    description: str
    budget: Budget
    workload: Workload
    passes: tuple[Pass, ...]
    extends: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return every value, including defaults, as JSON that :func:`load` accepts as a recipe."""
        return {
            "name": self.name,
            "description": self.description,
            "budget": self.budget.model_dump(mode="json"),
            "workload": self.workload.model_dump(mode="json"),
            "passes": [{passes.written_name(each): each.config()} for each in self.passes],
        }

    @property
    def is_private(self) -> bool:
        """Whether a pass protects private data by noise."""
        return any(each.tags.noisy for each in self.passes)

    def require_data(self, dataset: Dataset) -> None:
        """Reject data with which one of the passes cannot work, before a job begins.

        Raises:
            UsageError: the parameters of a pass do not fit the data.
        """
        for each in self.passes:
            each.require_data(dataset)

    def digest(self, public: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None) -> str:
        """Return the hex SHA-256 of the canonical JSON of :meth:`to_json` with the versions of the passes.

        Args:
            public: removes parameters that could be guessed from the digest.
        """
        values = {**self.to_json(), "versions": [each.version for each in self.passes]}
        if public is not None:
            values["passes"] = [
                {name: dict(public(config)) for name, config in each.items()} for each in values["passes"]
            ]
        return hashlib.sha256(rfc8785.dumps(values)).hexdigest()


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes: inside this package in a wheel, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def names() -> tuple[str, ...]:
    """Return the names of the shipped recipes.

    Example:
        >>> "balanced" in names()
        True
    """
    return tuple(sorted(path.stem for path in recipe_folder().glob("*.yaml")))


RecipeLike = str | Path | Recipe | Mapping[str, Any] | Sequence[Any]


def load(recipe: RecipeLike, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        recipe: name of a shipped recipe, path of a YAML or JSON file, a dict with a file's keys, a list of passes (each
            a name, a dict of one name with its parameters, or a configured pass), or a Recipe.
        settings: values to override, such as ``structured_prune.macs=0.4``; ``structured_prune[2]`` is the second pass
            of that name.

    Raises:
        UsageError: there is no such recipe, or something is malformed; names file, line and nearest known key.

    Example:
        >>> load("balanced", ["structured_prune.macs=0.4"]).passes[0].macs
        0.4
        >>> load({"extends": "int8", "budget": {"max_loss_percent": 0.5}}).budget.max_loss_percent
        0.5
    """
    if isinstance(recipe, Recipe):
        if not settings:
            return recipe
        text, name = RecipeText(recipe.to_json(), {(): f"recipe {recipe.name}"}), recipe.name
        text = replace(text, extends=recipe.extends, settings=recipe.settings)
    else:
        text, name = _read(recipe, Path(), ())
    return _recipe(with_settings(text, settings), name)


def parse(text: str, where: str, default_name: str = "recipe") -> Recipe:
    """Parse the text of a recipe.

    Args:
        text: YAML.
        where: file name for the errors; recipes that it extends by path are relative to its folder.
        default_name: name of a recipe that has none.

    Raises:
        UsageError: see :func:`load`.
    """
    return _recipe(_extended(RecipeText.of_document(parse_document(text, where)), Path(where).parent, ()), default_name)


def _read(recipe: Any, folder: Path, seen: tuple[Any, ...]) -> tuple[RecipeText, str]:
    """Return the contents of a recipe, merged with what it extends, and its default name."""
    if isinstance(recipe, Mapping | list | tuple):
        values = dict(recipe) if isinstance(recipe, Mapping) else {"passes": list(recipe)}
        return _extended(RecipeText(values, {(): "recipe"}), folder, seen), "recipe"
    if not isinstance(recipe, str | Path):
        raise UsageError(
            f"A recipe must be a name, the path of a YAML file, a dict, a list of passes or a Recipe, got "
            f"{type(recipe).__name__}."
        )
    path = Path(recipe)
    # A bare word is a name; anything with a folder or a suffix is a path.
    if path.suffix not in SUFFIXES and len(path.parts) < 2:
        if str(recipe) not in names():
            raise unknown_name("recipe", str(recipe), names(), HINT)
        path = recipe_folder() / f"{recipe}.yaml"
    else:
        path = folder / path.expanduser()
    if path.resolve() in seen:
        raise UsageError(f"{path}: extends itself; name another recipe in 'extends'.")
    text = RecipeText.of_document(read_document(path, MAX_BYTES))
    return _extended(text, path.parent, (*seen, path.resolve())), path.stem


def _extended(text: RecipeText, folder: Path, seen: tuple[Any, ...]) -> RecipeText:
    """Merge a recipe's contents with what it extends, and apply its own ``set``."""
    values = dict(text.values)
    base, own = values.pop("extends", None), values.pop("set", None)
    text = replace(text, values=values)
    if base is not None:
        if not isinstance(base, str | Path):
            raise UsageError(f"{text.place('extends')}: extends must be the name of one recipe, got {base!r}.")
        try:
            below, _ = _read(base, folder, seen)
        except UsageError as error:
            raise UsageError(f"{text.place('extends')}: {error}") from error
        text = text.over(below, str(base))
    if own is not None and not isinstance(own, dict):
        raise UsageError(f"{text.place('set')}: set must be a mapping such as 'structured_prune.macs: 0.4'.")
    for name, value in (own or {}).items():
        text = text.with_setting(str(name), value, text.place("set", name))
    return text


def _recipe(text: RecipeText, default_name: str) -> Recipe:
    # An empty key in YAML means its default.
    stated = {key: value for key, value in text.values.items() if value is not None}
    items = stated.get("passes")
    if isinstance(items, list):
        # Configured passes were validated when they were created.
        stated["passes"] = [each.name if isinstance(each, Pass) else each for each in items]
    written = validated(_Written, stated, "the recipe", text.place)
    return Recipe(
        name=written.name or default_name,
        description=written.description or ("" if not text.extends else f"The recipe {text.extends[0]}, changed."),
        budget=written.budget,
        workload=written.workload,
        passes=tuple(_passes(items or [], text)),
        extends=text.extends,
        settings=text.settings,
    )


def _passes(items: list[Any], text: RecipeText) -> Iterator[Pass]:
    """Yield the configured passes; torch passes must precede ONNX passes."""
    last: Pass | None = None
    for number, item in enumerate(items):
        place = text.place("passes", number)
        found = item if isinstance(item, Pass) else _configured(item, number, text)
        if last is not None and last.stage == "onnx" and found.stage == "torch":
            raise UsageError(
                f"{place}: {found.name} works on the torch model and cannot follow {last.name}; move it up."
            )
        if isinstance(last, TorchPass) and last.final and found.stage == "torch":
            raise UsageError(f"{place}: {found.name} cannot work on the result of {last.name}; move it up.")
        last = found
        yield found


def _configured(item: Any, number: int, text: RecipeText) -> Pass:
    name, parameters = named_pass(item, text.place, number)
    try:
        kind = passes.find(name)
    except UsageError as error:
        raise UsageError(f"{text.place('passes', number)}: {error}") from error
    return validated(kind, parameters, name, functools.partial(text.place, "passes", number, name))
