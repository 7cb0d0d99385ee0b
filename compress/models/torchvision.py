"""Models of torchvision: ``resnet50``."""

from __future__ import annotations

from typing import Any

import torchvision

FACTORY = "torchvision.models"
"""What stands before the name of a factory, with a colon between."""
ALWAYS_FITS = 32
"""Pixels; data sets are enlarged to at least this, so only nets that need more have to say so."""

AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Heads that only help the training of the two nets that have them; never built, left out of weights."""


def names() -> list[str]:
    """Every torchvision classification model."""
    return sorted(torchvision.models.list_models(module=torchvision.models))


def arguments(name: str) -> dict[str, Any]:
    """What the factory of a model is called with, beside the number of classes."""
    return {"aux_logits": False, "init_weights": True} if name in AUXILIARY_HEADS else {}


def least_size(name: str) -> tuple[int, int] | None:
    """(H, W) below which a model does not run, where that is more than 32 pixels."""
    stated = torchvision.models.get_model_weights(name)
    height, width = min(weights.meta["min_size"] for weights in stated)
    return (height, width) if max(height, width) > ALWAYS_FITS else None
