"""Quantization-aware training: fake quantizers in a torch module, and its export with exactly their integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.quantization.aware_training.export import filled as filled
    from compress.quantization.aware_training.fake_quant_model import FakeQuantModel as FakeQuantModel
    from compress.quantization.aware_training.preparation import FakeQuantSettings as FakeQuantSettings
    from compress.quantization.aware_training.preparation import fake_quantized as fake_quantized
    from compress.quantization.aware_training.preparation import step_sizes as step_sizes


__getattr__, __dir__ = door(
    __name__,
    {
        "export": ("filled",),
        "fake_quant_model": ("FakeQuantModel",),
        "preparation": ("FakeQuantSettings", "fake_quantized", "step_sizes"),
    },
)
