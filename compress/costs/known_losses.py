"""Losses that this process has measured: a search asks for those of one model at several targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from compress.core.model_stats import state_digest
from compress.costs.items import Variant

Losses = list[list[float]]
Candidates = Sequence[Sequence[Variant]]

KEPT = 8
"""Models whose losses are kept."""

_known: dict[str, dict[tuple[int, str], float]] = {}


def key_of(model: nn.Module, settings: Sequence[object], data: Iterable[torch.Tensor]) -> str:
    """Return a digest of everything but the variants that losses depend on.

    Args:
        model: the original.
        settings: how variants are made; their ``repr`` counts.
        data: samples and other tensors.
    """
    digest = hashlib.sha256(repr((state_digest(model), str(model), settings)).encode())
    for tensor in data:
        digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def remembered(key: str, candidates: Candidates, measure: Callable[[Candidates], Losses]) -> Losses:
    """Return the losses of the variants of each block; only those that are not known yet are measured.

    Costs that are measured again may make other variants worthwhile. The loss of a block's variant is measured with all
    other blocks unchanged.

    Args:
        key: see :func:`key_of`.
        candidates: variants of each block.
        measure: measures the losses of some variants of each block.
    """
    if key not in _known:
        while len(_known) >= KEPT:
            del _known[next(iter(_known))]
        _known[key] = {}
    known = _known[key]
    wanted = [[(number, repr(variant)) for variant in variants] for number, variants in enumerate(candidates)]
    missing = [
        [variant for variant, name in zip(variants, names, strict=True) if name not in known]
        for variants, names in zip(candidates, wanted, strict=True)
    ]
    if any(missing):
        for number, (variants, losses) in enumerate(zip(missing, measure(missing), strict=True)):
            known.update({(number, repr(each)): loss for each, loss in zip(variants, losses, strict=True)})
    return [[known[name] for name in names] for names in wanted]
