"""Parts of a model that a pass replaced by others: found, written down, and built again.

A checkpoint holds sizes for layers that became narrower. Where a block was dropped or a layer split in two, it holds
what stands there now, in words of a closed list of plain layers; so a record can choose none of the code that runs.
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
"""The layers that can stand in another's place, and the numbers that make them; a bias is told by its parameter."""
LAYERS = {kind.__name__: kind for kind in ARGUMENTS}
SEQUENCE = nn.Sequential.__name__


def replaced(model: nn.Module, fresh: nn.Module) -> dict[str, Description]:
    """What stands in the model where the fresh one has something of another kind, by path.

    Raises:
        ModelError: something that is none of the plain layers stands there.
    """
    found: dict[str, Description] = {}
    _compare("", model, fresh, found)
    return found


def _compare(path: str, module: nn.Module, fresh: nn.Module, found: dict[str, Description]) -> None:
    children, wanted = dict(module.named_children()), dict(fresh.named_children())
    if type(module) is not type(fresh) or set(children) != set(wanted) or _biased(module) != _biased(fresh):
        found[path] = describe(module, path)
        return
    for name, child in children.items():
        _compare(f"{path}.{name}".lstrip("."), child, wanted[name], found)


def _biased(module: nn.Module) -> bool:
    """Whether a plain layer has a bias, which one gets that a norm was folded into."""
    return isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None


def describe(module: nn.Module, path: str) -> Description:
    """A plain layer, or a sequence of such, in words.

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
            f"The model differs from a fresh one in more than sizes and plain layers: '{path}' is a "
            f"{type(module).__name__}; it can't be saved as a checkpoint of it."
        )
    arguments = {name: getattr(module, name) for name in ARGUMENTS[type(module)]}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
    has_bias = {"bias": module.bias is not None} if hasattr(module, "bias") else {}
    description = {"layer": type(module).__name__, **plain, **has_bias}
    inside = replaced(module, _built(description, path)) if isinstance(module, SelfAttention) else {}
    return {**description, "replaced": inside} if inside else description


def put(model: nn.Module, replacements: Mapping[str, Any]) -> None:
    """Put plain layers, with random weights, where a record says so.

    Raises:
        ModelError: a path that the model does not have, or no description of a plain layer.
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
        made = LAYERS[kind](**plain)
        put(made, inside)
        return made
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"The record describes no plain layer for '{path}' ({error!r}).") from error
