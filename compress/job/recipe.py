"""Recipes: which passes are applied, in what order, within which budget. Strict YAML."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from compress import passes
from compress.core.pass_protocol import Pass, TorchPass

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
KEYS = ("name", "description", "budget", "workload", "passes")
SUFFIXES = (".yaml", ".yml")
PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null"))
LARGEST_INTEGER = 2**53 - 1
"""Beyond it canonical JSON can't hold a whole number (RFC 8785)."""
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
"""Numbers such as 1e-3, which YAML 1.1 reads as text."""


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
        return parse(_read(path), str(path), path.stem)
    if str(name) not in names():
        raise unknown_name("recipe", str(name), names(), "A recipe is one of these names or the path of a .yaml file.")
    shipped = recipe_folder() / f"{name}.yaml"
    return parse(_read(shipped), str(shipped), shipped.stem)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path}: a recipe has at most {MAX_BYTES // 1024} KiB, this file {len(content) // 1024}.")
        return content.decode()
    except OSError as error:
        raise UsageError(f"{path}: the recipe can't be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the recipe is not UTF-8 text.") from error


def parse(text: str, where: str, default_name: str = "recipe") -> Recipe:
    """Parse the text of a recipe.

    Args:
        text: YAML.
        where: file name for the errors.
        default_name: name of a recipe that states none.

    Raises:
        UsageError: see :func:`load`.
    """
    reader = _Reader(where)
    top = reader.mapping(_compose(text, where), "recipe", KEYS)
    if "passes" not in top:
        raise UsageError(f"{where}: a recipe needs a list of passes under the key 'passes'.")
    found = tuple(reader.passes(top["passes"]))
    return Recipe(
        name=reader.text(top["name"], "name") if "name" in top else default_name,
        description=reader.text(top["description"], "description") if "description" in top else "",
        budget=reader.model(Budget, top.get("budget"), "budget"),
        workload=reader.model(Workload, top.get("workload"), "workload"),
        passes=found,
    )


def _compose(text: str, where: str) -> yaml.Node:
    """The node tree of one plain YAML document: no aliases, no tags, no depth."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = _line(event)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise UsageError(f"{where}, line {line}: anchors and aliases are not allowed in a recipe.")
            if tag := getattr(event, "tag", None):
                raise UsageError(f"{where}, line {line}: tags such as '{tag}' are not allowed in a recipe.")
            if depth > MAX_DEPTH:
                raise UsageError(f"{where}, line {line}: nested deeper than {MAX_DEPTH} levels.")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{where}, line {line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())}.") from error
    if node is None:
        raise UsageError(f"{where}: the recipe is empty; it needs at least a list of passes.")
    return node


def _line(place: yaml.Event | yaml.Node) -> int:
    """Line number from 1."""
    return 1 if place.start_mark is None else int(place.start_mark.line) + 1


class _Reader:
    """Turns YAML nodes into values, with the line in every error."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, node: yaml.Node, sentence: str) -> UsageError:
        return UsageError(f"{self.where}, line {_line(node)}: {sentence}")

    def mapping(self, node: yaml.Node, kind: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        """Keys and value nodes of a mapping whose keys are all known and stand once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{kind} should be a mapping of keys to values.")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if key not in known:
                raise self.error(key_node, str(unknown_name(f"key of {kind}", key, known)))
            if key in found:
                raise self.error(key_node, f"the key '{key}' of {kind} stands twice.")
            found[key] = value
        return found

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{key} should be text.")
        return str(node.value)

    def value(self, node: yaml.Node) -> Any:
        """Plain values: text, numbers, true and false, null, lists."""
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        if not isinstance(node, yaml.ScalarNode) or node.tag not in PLAIN_TAGS:
            raise self.error(node, "a parameter is text, a number, true, false, null or a list of these.")
        if node.style is None and EXPONENT.fullmatch(node.value):
            return float(node.value)
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            raise self.error(node, f"'{node.value}' can't be read: {error}.") from error
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise self.error(node, f"a whole number has to lie within {LARGEST_INTEGER} on either side of 0.")
        return value

    def model(self, kind: type[BaseModel], node: yaml.Node | None, key: str) -> Any:
        """A validated pydantic model; absent or empty means its defaults."""
        if node is None or (isinstance(node, yaml.ScalarNode) and self.value(node) is None):
            return kind()
        nodes = self.mapping(node, key, tuple(kind.model_fields))
        try:
            values = {name: self.value(value) for name, value in nodes.items()}
            return kind.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else key
            found = "" if isinstance(first["input"], dict) else f" (found {first['input']!r})"
            sentence = first["msg"].removeprefix("Value error, ")
            message = sentence[:1].lower() + sentence[1:]
            raise self.error(nodes.get(name, node), f"{name} of {key}: {message}{found}.") from error

    def passes(self, node: yaml.Node) -> Iterator[Pass]:
        """The configured passes; torch passes must stand before ONNX passes."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(node, "passes should be a list, such as '- quantize_static'.")
        last: Pass | None = None
        for item in node.value:
            name, config = self._item(item)
            try:
                kind = passes.find(name)
            except UsageError as error:
                raise self.error(item, str(error)) from error
            found: Pass = self.model(kind, config, name)
            if last is not None and last.stage == "onnx" and found.stage == "torch":
                raise self.error(item, f"{name} works on the torch model and can't follow {last.name}; put it before.")
            if isinstance(last, TorchPass) and last.final and found.stage == "torch":
                raise self.error(item, f"{name} can't work on what {last.name} leaves; put it before.")
            last = found
            yield found

    def _item(self, item: yaml.Node) -> tuple[str, yaml.Node | None]:
        if isinstance(item, yaml.ScalarNode):
            return str(item.value), None
        if isinstance(item, yaml.MappingNode) and len(item.value) == 1:
            key, config = item.value[0]
            return str(key.value), config
        raise self.error(item, "each pass is a name, or one name with its parameters under it.")
