"""Replaced parts of a model: detected, described, and rebuilt.

A checkpoint holds sizes for layers that became narrower. Where a block was dropped or a layer split in two, it
describes the replacement in terms of a closed list of plain layers, so that a record cannot choose what code runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from certify.core.errors import ModelError
from compress.models.attention import SelfAttention, TokenAttention, WindowAttention

ATTENTION = (
    "width",
    "num_heads",
    "head_dim",
    "scale",
    "qkv_bias",
    "out_bias",
    "offsets",
    "tokens",
    "cosine",
    "attention_dropout",
    "dropout",
)
Description = dict[str, Any]
"""``{"layer": name, **arguments}``, and ``parts`` for a sequence."""

ARGUMENTS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Identity: (),
    nn.Linear: ("in_features", "out_features"),
    nn.Conv2d: (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    ),
    SelfAttention: ATTENTION,
    TokenAttention: (*ATTENTION, "batch_first"),
    WindowAttention: (*ATTENTION, "window_size", "shift_size"),
}
"""Layers that can replace another part, and the arguments that build them; a bias follows from its parameter."""
LAYERS = {kind.__name__: kind for kind in ARGUMENTS}
SEQUENCE = nn.Sequential.__name__


def replaced(model: nn.Module, fresh: nn.Module) -> dict[str, Description]:
    """Return descriptions of the parts that differ in kind from the new model's, by path.

    Raises:
        ModelError: such a part is not a plain layer.
    """
    found: dict[str, Description] = {}
    _compare("", model, fresh, found)
    return found


def _compare(path: str, module: nn.Module, fresh: nn.Module, found: dict[str, Description]) -> None:
    children, wanted = dict(module.named_children()), dict(fresh.named_children())
    # Match exact types, because a subclass may compute something else with the same parts.
    if type(module) is not type(fresh) or set(children) != set(wanted) or _biased(module) != _biased(fresh):
        found[path] = describe(module, path)
        return
    for name, child in children.items():
        _compare(f"{path}.{name}".lstrip("."), child, wanted[name], found)


def _biased(module: nn.Module) -> bool:
    """Return whether a plain layer has a bias, which it gets when a norm is folded into it."""
    return isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None


def describe(module: nn.Module, path: str) -> Description:
    """Describe a plain layer, or a sequence of plain layers.

    Raises:
        ModelError: it is neither.
    """
    if type(module) is nn.Sequential:
        return {
            "layer": SEQUENCE,
            "parts": [describe(part, f"{path}.{name}") for name, part in module.named_children()],
        }
    if type(module) not in ARGUMENTS:
        raise ModelError(
            f"The model differs from a new one in more than sizes and plain layers: '{path}' is a "
            f"{type(module).__name__}; it cannot be saved as a checkpoint."
        )
    arguments = {name: getattr(module, name) for name in ARGUMENTS[type(module)]}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    has_bias = {"bias": module.bias is not None} if hasattr(module, "bias") else {}
    description = {"layer": type(module).__name__, **plain, **has_bias}
    # Pruned attention may itself contain narrower or factored layers.
    inside = replaced(module, _built(description, path)) if isinstance(module, SelfAttention) else {}
    return {**description, "replaced": inside} if inside else description


def put(model: nn.Module, replacements: Mapping[str, Any]) -> None:
    """Insert plain layers with random weights where a record says so.

    Raises:
        ModelError: the model does not have a path, or a description is not that of a plain layer.
    """
    for path, description in replacements.items():
        parent, _, name = path.rpartition(".")
        try:
            owner = model.get_submodule(parent)
            owner.get_submodule(name)
        except AttributeError as error:
            raise ModelError(f"The record replaces '{path}', which the model does not have.") from error
        setattr(owner, name, _built(description, path))


def _built(description: Any, path: str) -> nn.Module:
    try:
        arguments = dict(description)
        kind = arguments.pop("layer")
        if kind == SEQUENCE:
            return nn.Sequential(*(_built(part, path) for part in arguments.pop("parts")))
        inside = arguments.pop("replaced", {})
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
        built = LAYERS[kind](**plain)
        put(built, inside)
        return built
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"The record does not describe a plain layer for '{path}' ({error!r}).") from error
