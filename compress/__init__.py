"""The maker: turns a trained model into a cheaper one and passes it to the referee. Needs torch.

Example:
    >>> import compress
    >>> compress.StructuredPrune(macs=0.5).name
    'structured_prune'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from certify.core.errors import DataError, LeanmarkError, MeasureError, MissingExtra, ModelError, UsageError
from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.core.callbacks import TrainingCallback
    from compress.exchange.checkpoint import load
    from compress.job.compression_result import CompressionResult
    from compress.job.cost_table import cost_table
    from compress.job.dry_run import JobPlan, dry_run
    from compress.job.pipeline import run
    from compress.job.recipe import Recipe
    from compress.job.single_pass import apply
    from compress.passes.depth_prune import DepthPrune
    from compress.passes.distill import Distill
    from compress.passes.dp_finetune import DpFinetune
    from compress.passes.dp_head import DpHead
    from compress.passes.fast_kernels import FastKernels
    from compress.passes.federated_distill import FederatedDistill
    from compress.passes.federated_finetune import FederatedFinetune
    from compress.passes.finetune import Finetune
    from compress.passes.fold_norms import FoldNorms
    from compress.passes.half import Half
    from compress.passes.low_rank import LowRank
    from compress.passes.nm_sparsity import NmSparsity
    from compress.passes.pad_channels import PadChannels
    from compress.passes.pate_distill import PateDistill
    from compress.passes.qat import Qat
    from compress.passes.quantize_dynamic import QuantizeDynamic
    from compress.passes.quantize_embeddings import QuantizeEmbeddings
    from compress.passes.quantize_static import QuantizeStatic
    from compress.passes.quantize_weights import QuantizeWeights
    from compress.passes.reconstruct import Reconstruct
    from compress.passes.space_to_depth import SpaceToDepth
    from compress.passes.structured_prune import StructuredPrune
    from compress.passes.trim_kernels import TrimKernels
    from compress.search.outcome import SearchResult
    from compress.search.search import search_recipe

__all__ = [
    "CompressionResult",
    "DataError",
    "DepthPrune",
    "Distill",
    "DpFinetune",
    "DpHead",
    "FastKernels",
    "FederatedDistill",
    "FederatedFinetune",
    "Finetune",
    "FoldNorms",
    "Half",
    "JobPlan",
    "LeanmarkError",
    "LowRank",
    "MeasureError",
    "MissingExtra",
    "ModelError",
    "NmSparsity",
    "PadChannels",
    "PateDistill",
    "Qat",
    "QuantizeDynamic",
    "QuantizeEmbeddings",
    "QuantizeStatic",
    "QuantizeWeights",
    "Recipe",
    "Reconstruct",
    "SearchResult",
    "SpaceToDepth",
    "StructuredPrune",
    "TrainingCallback",
    "TrimKernels",
    "UsageError",
    "apply",
    "cost_table",
    "dry_run",
    "load",
    "run",
    "search_recipe",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "core.callbacks": ("TrainingCallback",),
        "exchange.checkpoint": ("load",),
        "job.compression_result": ("CompressionResult",),
        "job.cost_table": ("cost_table",),
        "job.dry_run": ("JobPlan", "dry_run"),
        "job.pipeline": ("run",),
        "job.recipe": ("Recipe",),
        "job.single_pass": ("apply",),
        "passes.depth_prune": ("DepthPrune",),
        "passes.distill": ("Distill",),
        "passes.dp_finetune": ("DpFinetune",),
        "passes.dp_head": ("DpHead",),
        "passes.fast_kernels": ("FastKernels",),
        "passes.federated_distill": ("FederatedDistill",),
        "passes.federated_finetune": ("FederatedFinetune",),
        "passes.finetune": ("Finetune",),
        "passes.fold_norms": ("FoldNorms",),
        "passes.half": ("Half",),
        "passes.low_rank": ("LowRank",),
        "passes.nm_sparsity": ("NmSparsity",),
        "passes.pad_channels": ("PadChannels",),
        "passes.pate_distill": ("PateDistill",),
        "passes.qat": ("Qat",),
        "passes.quantize_dynamic": ("QuantizeDynamic",),
        "passes.quantize_embeddings": ("QuantizeEmbeddings",),
        "passes.quantize_static": ("QuantizeStatic",),
        "passes.quantize_weights": ("QuantizeWeights",),
        "passes.reconstruct": ("Reconstruct",),
        "passes.space_to_depth": ("SpaceToDepth",),
        "passes.structured_prune": ("StructuredPrune",),
        "passes.trim_kernels": ("TrimKernels",),
        "search.outcome": ("SearchResult",),
        "search.search": ("search_recipe",),
    },
    eager=("DataError", "LeanmarkError", "MeasureError", "MissingExtra", "ModelError", "UsageError"),
)
