"""Input descriptions of other libraries: torchvision's transforms, timm's data config, Hugging Face's processor.

Each is converted to the same few fields of :class:`compress.models.built_model.BuiltModel`: ``input_size``, ``resize``,
``mean`` and ``std`` (of pixels from 0 to 1) and ``interpolation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters that a contract supports."""
CONVNEXT_CROPS_BELOW = 384
"""Size in pixels below which an image processor with ``crop_pct`` crops (transformers' ConvNextImageProcessor)."""

InputFields = dict[str, Any]


def of_torchvision(transforms: Any) -> InputFields:
    """Convert torchvision's evaluation transforms, such as ``ResNet50_Weights.DEFAULT.transforms()``."""
    return {
        "input_size": (transforms.crop_size[0], transforms.crop_size[0]),
        "resize": transforms.resize_size[0],
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
        "interpolation": transforms.interpolation.value,
    }


def of_timm(config: Mapping[str, Any]) -> InputFields:
    """Convert timm's ``pretrained_cfg``, or the result of its ``resolve_model_data_config``.

    Example:
        >>> config = {"input_size": (3, 224, 224), "crop_pct": 0.875, "mean": (0.5,), "std": (0.5,)}
        >>> of_timm(config)["resize"]
        256
    """
    _, height, width = config["input_size"]
    known = config.get("interpolation") in RESAMPLING.values()
    return {
        "input_size": (height, width),
        "resize": int(height / (config.get("crop_pct") or 1)),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "interpolation": config["interpolation"] if known else None,
    }


def of_processor(values: Mapping[str, Any]) -> InputFields:
    """Convert Hugging Face's ``preprocessor_config.json``.

    A processor that scales to one size and then crops to another is read as scaling the shorter side, as DeiT is
    evaluated (Touvron et al. 2021, arXiv 2012.12877).
    """
    stated: InputFields = {}
    if not values.get("do_normalize", True):
        stated |= {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    elif values.get("image_mean") and values.get("image_std"):
        stated |= {"mean": tuple(values["image_mean"]), "std": tuple(values["image_std"])}
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if stated:  # in units of pixels from 0 to 1, whatever they were rescaled to
        stated |= {key: tuple(value / (255 * factor) for value in stated[key]) for key in ("mean", "std")}
    if values.get("resample") in RESAMPLING:
        stated["interpolation"] = RESAMPLING[values["resample"]]
    return stated | _sizes(values)


def _sizes(values: Mapping[str, Any]) -> InputFields:
    scaled, cut, share = values.get("size"), values.get("crop_size"), values.get("crop_pct")
    if values.get("do_center_crop") and cut:
        height, width = (cut["height"], cut["width"]) if isinstance(cut, dict) else (cut, cut)
        shorter = min(scaled.values()) if isinstance(scaled, dict) else scaled
        return {"resize": shorter or "exact", "input_size": (int(height), int(width))}
    if not values.get("do_resize", True) or not scaled:
        return {}
    side = next(iter(scaled.values())) if isinstance(scaled, dict) and len(scaled) == 1 else scaled
    height, width = (side["height"], side["width"]) if isinstance(side, dict) else (side, side)
    if share and height < CONVNEXT_CROPS_BELOW:
        return {"resize": int(height / share), "input_size": (int(height), int(width))}
    return {"resize": "exact", "input_size": (int(height), int(width))}
