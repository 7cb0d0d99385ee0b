"""Pruning engines: dependency groups of units, their importance, and the proof that removing them is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.pruning.depth import drop_blocks as drop_blocks
    from compress.pruning.heads import loosen as loosen
    from compress.pruning.low_rank import factorize as factorize
    from compress.pruning.nm_sparsity import pattern_masks as pattern_masks
    from compress.pruning.nm_sparsity import refit_around_zeros as refit_around_zeros
    from compress.pruning.onnx_units.engine import FileSettings as FileSettings
    from compress.pruning.onnx_units.engine import reconstruct_file as reconstruct_file
    from compress.pruning.rules import PruneSettings as PruneSettings
    from compress.pruning.structured import prune as prune


__getattr__, __dir__ = door(
    __name__,
    {
        "depth": ("drop_blocks",),
        "heads": ("loosen",),
        "low_rank": ("factorize",),
        "nm_sparsity": ("pattern_masks", "refit_around_zeros"),
        "onnx_units.engine": ("FileSettings", "reconstruct_file"),
        "rules": ("PruneSettings",),
        "structured": ("prune",),
    },
)
