"""Post-training quantization: calibration on samples, graph transformations before rounding, error correction after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.quantization.post_training.dynamic import quantize_dynamic as quantize_dynamic
    from compress.quantization.post_training.embeddings import EmbeddingSettings as EmbeddingSettings
    from compress.quantization.post_training.embeddings import quantize_embeddings as quantize_embeddings
    from compress.quantization.post_training.float16 import to_float16 as to_float16
    from compress.quantization.post_training.quantizer import StaticSettings as StaticSettings
    from compress.quantization.post_training.static import quantize_static as quantize_static
    from compress.quantization.post_training.weight_only import WeightSettings as WeightSettings
    from compress.quantization.post_training.weight_only import quantize_weights as quantize_weights


__getattr__, __dir__ = door(
    __name__,
    {
        "dynamic": ("quantize_dynamic",),
        "embeddings": ("EmbeddingSettings", "quantize_embeddings"),
        "float16": ("to_float16",),
        "quantizer": ("StaticSettings",),
        "static": ("quantize_static",),
        "weight_only": ("WeightSettings", "quantize_weights"),
    },
)
