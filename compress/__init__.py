"""The maker: turns a trained model into a cheaper one and hands it to the referee. Needs torch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from compress.job.pipeline import CompressionResult

__all__ = ["CompressionResult", "load", "run"]


def run(*arguments: Any, **options: Any) -> CompressionResult:
    """Compress a model by a recipe, then measure, grade, sign and seal it: see :func:`compress.job.pipeline.run`."""
    from compress.job import pipeline

    return pipeline.run(*arguments, **options)


def load(path: str | Path, into: nn.Module | None = None) -> nn.Module:
    """Load the compressed torch model from its folder or its checkpoint file, to go on training.

    Args:
        path: the folder that ``run`` wrote into, or the ``.safetensors`` file in it.
        into: the original module, needed where it was given as a module and not by name; it is left untouched.

    Raises:
        ModelError: the checkpoint is missing, damaged or does not fit the module.
    """
    from compress.exchange.checkpoint import load as load_checkpoint

    file = Path(path)
    return load_checkpoint(file / "model.safetensors" if file.is_dir() else file, copy.deepcopy(into))


def __getattr__(name: str) -> Any:
    """Import ``CompressionResult`` when it is first asked for, so that ``import compress`` stays quick."""
    if name == "CompressionResult":
        from compress.job.pipeline import CompressionResult

        return CompressionResult
    raise AttributeError(f"module 'compress' has no attribute '{name}'")
