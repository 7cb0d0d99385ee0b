"""The passes: one file each, and one explicit table.

A new pass is a file with a subclass of ``TorchPass`` or ``OnnxPass``, and a line in ``PASSES``; the common checks of
:mod:`compress.testing` then run on it automatically. A third-party package registers its passes as entry points of the
group ``leanmark.passes``: the name of the pass, and ``package.module:Class``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certify.core.errors import UsageError
from certify.core.registry import Registry
from compress.core.context import PassContext, PassData
from compress.core.pass_protocol import Declined, OnnxPass, Pass, PassRecord, PassTags, TorchPass

__all__ = [
    "Declined",
    "OnnxPass",
    "Parameter",
    "Pass",
    "PassContext",
    "PassData",
    "PassRecord",
    "PassTags",
    "TorchPass",
    "describe",
    "find",
    "names",
    "written_name",
]


PASSES = Registry(
    "pass",
    "leanmark.passes",
    {
        "structured_prune": "compress.passes.structured_prune:StructuredPrune",
        "depth_prune": "compress.passes.depth_prune:DepthPrune",
        "low_rank": "compress.passes.low_rank:LowRank",
        "nm_sparsity": "compress.passes.nm_sparsity:NmSparsity",
        "distill": "compress.passes.distill:Distill",
        "finetune": "compress.passes.finetune:Finetune",
        "qat": "compress.passes.qat:Qat",
        "fold_norms": "compress.passes.fold_norms:FoldNorms",
        "dp_head": "compress.passes.dp_head:DpHead",
        "dp_finetune": "compress.passes.dp_finetune:DpFinetune",
        "pate_distill": "compress.passes.pate_distill:PateDistill",
        "federated_finetune": "compress.passes.federated_finetune:FederatedFinetune",
        "federated_distill": "compress.passes.federated_distill:FederatedDistill",
        "reconstruct": "compress.passes.reconstruct:Reconstruct",
        "trim_kernels": "compress.passes.trim_kernels:TrimKernels",
        "space_to_depth": "compress.passes.space_to_depth:SpaceToDepth",
        "pad_channels": "compress.passes.pad_channels:PadChannels",
        "quantize_static": "compress.passes.quantize_static:QuantizeStatic",
        "quantize_dynamic": "compress.passes.quantize_dynamic:QuantizeDynamic",
        "quantize_weights": "compress.passes.quantize_weights:QuantizeWeights",
        "quantize_embeddings": "compress.passes.quantize_embeddings:QuantizeEmbeddings",
        "half": "compress.passes.half:Half",
        "fast_kernels": "compress.passes.fast_kernels:FastKernels",
    },
    "See leanmark passes.",
)


def names() -> tuple[str, ...]:
    """Return the names of all passes, leanmark's own first.

    Example:
        >>> "structured_prune" in names()
        True
    """
    return PASSES.names()


def find(name: str) -> type[Pass]:
    """Import and return the class of a pass.

    Args:
        name: name of a registered pass, or ``package.module:Name`` of any other.

    Raises:
        UsageError: no pass has that name, it is broken or not a pass, or another pass already uses its name.
        ImportError: the file of one of leanmark's own passes cannot be imported.

    Example:
        >>> find("finetune").stage
        'torch'
    """
    found = PASSES.load(name)
    if not (isinstance(found, type) and issubclass(found, Pass)):
        raise UsageError(f"{PASSES.place(name)} is not a pass; give a subclass of TorchPass or OnnxPass.")
    PASSES.check_name(name, getattr(found, "name", ""))
    return found


def written_name(configured: Pass) -> str:
    """Return the name of a pass in a recipe: its own, or ``package.module:Name`` if that is not registered.

    Example:
        >>> written_name(find("finetune")())
        'finetune'
    """
    kind = type(configured)
    return configured.name if configured.name in names() else f"{kind.__module__}:{kind.__qualname__}"


@dataclass(frozen=True)
class Parameter:
    """Description of one parameter of a pass.

    Attributes:
        name: key in the recipe.
        kind: type, such as ``integer`` or ``one of local, global``.
        default: JSON value; None may mean that the pass chooses.
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
    """Return the docstring and the parameters of a pass.

    Example:
        >>> describe("half")[1][0].name
        'kind'
    """
    found = find(name)
    properties = found.model_json_schema()["properties"] if found.model_fields else {}
    return inspect.getdoc(found) or "", tuple(_parameter(key, schema) for key, schema in properties.items())


def _parameter(name: str, schema: Mapping[str, Any]) -> Parameter:
    choices = schema.get("anyOf", [schema])
    limits = [f"{sign} {choice[key]:,.9g}" for choice in choices for key, sign in _BOUNDS.items() if key in choice]
    # Null means that the pass chooses; the default already says so.
    kinds = [_kind(choice) for choice in choices if choice.get("type") != "null"]
    return Parameter(name, " or ".join(kinds), schema.get("default"), ", ".join(limits), schema.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}s"
    return str(schema.get("type", "value"))
