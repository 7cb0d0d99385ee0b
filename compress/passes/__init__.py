"""The passes: one file each, one explicit table.

A new pass is a file with a subclass of ``TorchPass`` or ``OnnxPass``, and its line in ``TABLE``; the common
battery of tests then runs over it by itself.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from certify.suggest import unknown_name
from compress.core.context import PassContext, PassData
from compress.core.pass_protocol import Declined, OnnxPass, Pass, PassRecord, TorchPass

__all__ = [
    "Declined",
    "OnnxPass",
    "Parameter",
    "Pass",
    "PassContext",
    "PassData",
    "PassRecord",
    "TorchPass",
    "describe",
    "find",
    "names",
]


def _table(entries: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    table: dict[str, str] = {}
    for name, place in entries:
        if name in table:
            raise ValueError(f"two passes are registered as '{name}': {table[name]} and {place}")
        table[name] = place
    return MappingProxyType(table)


TABLE = _table(
    (
        ("structured_prune", "compress.passes.structured_prune:StructuredPrune"),
        ("depth_prune", "compress.passes.depth_prune:DepthPrune"),
        ("low_rank", "compress.passes.low_rank:LowRank"),
        ("nm_sparsity", "compress.passes.nm_sparsity:NmSparsity"),
        ("distill", "compress.passes.distill:Distill"),
        ("finetune", "compress.passes.finetune:Finetune"),
        ("qat", "compress.passes.qat:Qat"),
        ("trim_kernels", "compress.passes.trim_kernels:TrimKernels"),
        ("space_to_depth", "compress.passes.space_to_depth:SpaceToDepth"),
        ("quantize_static", "compress.passes.quantize_static:QuantizeStatic"),
        ("quantize_dynamic", "compress.passes.quantize_dynamic:QuantizeDynamic"),
        ("quantize_weights", "compress.passes.quantize_weights:QuantizeWeights"),
        ("half", "compress.passes.half:Half"),
    )
)


def names() -> tuple[str, ...]:
    """Names of all passes, in the order of the table."""
    return tuple(TABLE)


def find(name: str) -> type[Pass]:
    """The class of a pass, imported now.

    Raises:
        UsageError: there is no pass of that name.
        ImportError: the file of the pass can't be imported.
        TypeError: what the table names is not a pass of that name.
    """
    if name not in TABLE:
        raise unknown_name("pass", name, TABLE, "List them with: leanmark passes")
    module_name, _, class_name = TABLE[name].partition(":")
    found = getattr(importlib.import_module(module_name), class_name)
    if not (isinstance(found, type) and issubclass(found, Pass) and found.name == name):
        raise TypeError(f"the table of passes names {TABLE[name]} for '{name}', which is no pass of that name")
    return found


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pass, as people read it.

    Attributes:
        name: key in a recipe.
        kind: type, such as ``integer`` or ``one of local, global``.
        default: JSON value; None may mean "chosen by the pass".
        bounds: ``> 0, <= 1`` or empty.
        description: one sentence.
    """

    name: str
    kind: str
    default: Any
    bounds: str
    description: str


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def describe(name: str) -> tuple[str, tuple[Parameter, ...]]:
    """Docstring and parameters of a pass."""
    found = find(name)
    properties = found.model_json_schema()["properties"] if found.model_fields else {}
    return inspect.getdoc(found) or "", tuple(_parameter(key, schema) for key, schema in properties.items())


def _parameter(name: str, schema: Mapping[str, Any]) -> Parameter:
    choices = schema.get("anyOf", [schema])
    limits = [f"{sign} {choice[key]:g}" for choice in choices for key, sign in _BOUNDS.items() if key in choice]
    kinds = [_kind(choice) for choice in choices if choice.get("type") != "null"]
    return Parameter(name, " or ".join(kinds), schema.get("default"), ", ".join(limits), schema.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("type", "value"))
