"""Losses that this process has measured: a search asks for those of one model at several targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from compress.core.model_stats import state_digest
from compress.costs.items import Variant

Losses = list[list[float]]

KEPT = 8
"""Models whose losses are kept."""

_known: dict[str, Losses] = {}


def key_of(
    model: nn.Module, candidates: Sequence[Sequence[Variant]], settings: Sequence[object], data: Iterable[torch.Tensor]
) -> str:
    """Return a digest of everything that the losses of variants depend on.

    Args:
        model: the original.
        candidates: variants of each item.
        settings: how variants are made; their ``repr`` counts.
        data: samples and other tensors.
    """
    digest = hashlib.sha256(repr((state_digest(model), str(model), candidates, settings)).encode())
    for tensor in data:
        digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def remembered(key: str, measure: Callable[[], Losses]) -> Losses:
    """Return the losses with this key, measured if they are not known yet."""
    if key not in _known:
        while len(_known) >= KEPT:
            del _known[next(iter(_known))]
        _known[key] = measure()
    return [list(row) for row in _known[key]]
