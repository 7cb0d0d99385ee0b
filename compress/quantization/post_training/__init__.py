"""Post-training quantization: ranges found on samples, graphs made easier to round, errors corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.quantization.post_training.dynamic import quantize_dynamic
    from compress.quantization.post_training.float16 import to_float16
    from compress.quantization.post_training.quantizer import StaticSettings
    from compress.quantization.post_training.static import quantize_static
    from compress.quantization.post_training.weight_only import WeightSettings, quantize_weights

__all__ = ["StaticSettings", "WeightSettings", "quantize_dynamic", "quantize_static", "quantize_weights", "to_float16"]

__getattr__, __dir__ = door(
    __name__,
    {
        "dynamic": ("quantize_dynamic",),
        "float16": ("to_float16",),
        "quantizer": ("StaticSettings",),
        "static": ("quantize_static",),
        "weight_only": (
            "WeightSettings",
            "quantize_weights",
        ),
    },
)
