"""Conversion between torch models and files: the ONNX export with its parity gate, and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.exchange.fake_quant_parity import compare_fake_quant as compare_fake_quant
    from compress.exchange.onnx_export import export as export
    from compress.exchange.onnx_export import write_once as write_once


__getattr__, __dir__ = door(
    __name__,
    {
        "fake_quant_parity": ("compare_fake_quant",),
        "onnx_export": ("export", "write_once"),
    },
)
