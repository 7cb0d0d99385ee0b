"""Models of timm, if it is installed: ``timm:resnet50d``.

Wightman 2019, "PyTorch Image Models" (https://github.com/huggingface/pytorch-image-models). Only architectures come
from it; weights are files, as for every other model.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from certify.core.errors import MissingExtra
from certify.core.suggest import unknown_name
from compress.models import image_input

PREFIX = "timm:"
FACTORY = "timm:create_model"
HINT = f"See leanmark models '{PREFIX}*'."


def names() -> list[str]:
    """Return all architectures of timm with the prefix; none if timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        return []
    import timm

    return [f"{PREFIX}{name}" for name in timm.list_models()]


def arguments(spec: str) -> dict[str, Any]:
    """Return the arguments of timm's factory for ``timm:NAME``, besides the number of classes.

    Raises:
        MissingExtra: timm is not installed.
        UsageError: it has no such architecture; the nearest name is given.
    """
    known = names()
    if not known:
        raise MissingExtra(f"Model '{spec}'", "timm")
    if spec not in known:
        raise unknown_name("model", spec, known, HINT)
    return {"model_name": spec.removeprefix(PREFIX), "pretrained": False}


def least_size(name: str) -> tuple[int, int] | None:
    """Return (H, W) that an architecture requires, exactly or as a minimum; None if any size will do."""
    stated = _stated(name)
    size = stated.input_size if stated.fixed_input_size else stated.min_input_size
    return None if size is None else (size[1], size[2])


def preprocessing(name: str) -> dict[str, Any]:
    """Return timm's statements about the images that its own weights of an architecture take; see image_input."""
    return image_input.of_timm(_stated(name).to_dict())


def published(folder: Path) -> dict[str, Any] | None:
    """Return the config of a folder saved by timm (``architecture``, ``pretrained_cfg``), or None for any other."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(config, dict) and "architecture" in config and isinstance(config.get("pretrained_cfg"), dict)
    return config if known else None


def _stated(name: str) -> Any:
    import timm

    return timm.models.get_pretrained_cfg(name)
