"""Models of torchvision, such as ``resnet50``."""

from __future__ import annotations

from typing import Any

import torchvision

FACTORY = "torchvision.models"
"""Prefix of a factory's name, before a colon."""
ALWAYS_FITS = 32
"""Size in pixels; data sets are enlarged to at least this, so only larger minimums matter."""

AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Auxiliary heads, which only help training; never built, and ignored in weights."""


def names() -> list[str]:
    """Return the names of all torchvision classifiers."""
    return sorted(torchvision.models.list_models(module=torchvision.models))


def arguments(name: str) -> dict[str, Any]:
    """Return the arguments of a model's factory besides the number of classes."""
    return {"aux_logits": False, "init_weights": True} if name in AUXILIARY_HEADS else {}


def least_size(name: str) -> tuple[int, int] | None:
    """Return the minimum (H, W) of a model if that is more than 32 pixels."""
    stated = torchvision.models.get_model_weights(name)
    height, width = min(weights.meta["min_size"] for weights in stated)
    return (height, width) if max(height, width) > ALWAYS_FITS else None
