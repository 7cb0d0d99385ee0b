"""ONNX graphs in memory: read, run, and rewritten to compute the same at lower cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.onnx_graph.channel_padding import pad_depthwise as pad_depthwise
    from compress.onnx_graph.kernel_crop import crop_kernels as crop_kernels
    from compress.onnx_graph.kernel_forms import write_for_kernels as write_for_kernels
    from compress.onnx_graph.space_to_depth import first_layers_by_blocks as first_layers_by_blocks


__getattr__, __dir__ = door(
    __name__,
    {
        "channel_padding": ("pad_depthwise",),
        "kernel_crop": ("crop_kernels",),
        "kernel_forms": ("write_for_kernels",),
        "space_to_depth": ("first_layers_by_blocks",),
    },
)
