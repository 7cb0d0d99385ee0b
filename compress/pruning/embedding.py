"""The width of the tokens between the blocks of a transformer, as a group of channels.

Every block adds to the same features, so one choice of features holds for all blocks: the layers that produce them (the
embedding, the last layer of every MLP and of every attention), those that read them and those that normalise them are
cut together. A layer norm then takes its mean and deviation over the remaining features; the original gives the same
when its layer norms are masked in this way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from compress.pruning.equivalence import outputs_match
from compress.pruning.groups import LAYERS, Cut, Group, Kept, Number, layer_cuts, layer_number
from compress.pruning.heads import attentions, head_group

NUMBERS = ("normalized_shape", "embedding_dim", "width", "hidden_dim", "hidden_size", "embed_dim", "embed_dims", "dim")
"""Names of attributes that hold the width; others, such as an image size, may equal it by chance."""


class EmbeddingUnclear(Exception):
    """The width between the blocks is ambiguous, or cutting it is not equivalent to masking it."""


class PartialLayerNorm(nn.Module):
    """A layer norm that sees only some of its inputs and returns 0 for the others.

    Args:
        norm: layer norm that it replaces.
        kept: (n,) indices of the inputs that it sees.
    """

    def __init__(self, norm: nn.LayerNorm, kept: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., width) to the same shape."""
        weight, bias = (None if t is None else t[self.kept] for t in (self.norm.weight, self.norm.bias))
        seen = F.layer_norm(x[..., self.kept], (len(self.kept),), weight, bias, self.norm.eps)
        return torch.zeros_like(x).index_copy(-1, self.kept, seen)


def embedding_group(model: nn.Module, sample: torch.Tensor, groups: Sequence[Group], head: nn.Module) -> Group:
    """Return the width that all blocks share, as a verified group.

    Args:
        model: model in eval mode, whose attention and MLPs are described by ``groups``; not modified.
        sample: (1, ...) input of the model.
        groups: groups of widths inside blocks, which are excluded here.
        head: layer that keeps its outputs.

    Raises:
        EmbeddingUnclear: with the reason.
    """
    widths = {norm.normalized_shape for norm in model.modules() if isinstance(norm, nn.LayerNorm)}
    if len(widths) != 1 or len(next(iter(widths))) != 1:
        found = ", ".join("x".join(map(str, shape)) for shape in sorted(widths)) or "none"
        raise EmbeddingUnclear(f"its layer norms must have one width, but have {found}")
    # A layer norm's width is the only reliable sign of the embedding's; other layers may be as wide by chance.
    ((width,),) = widths
    heads = [head_group(model, attention, "heads") for attention in attentions(model)]
    # MLPs and heads may be exactly as wide as the embedding; their slices belong to their own groups.
    inner = {(cut.path, cut.tensor, cut.dim) for group in (*groups, *heads) for cut in group.cuts}
    cuts = tuple(cut for cut in _cuts(model, width, head) if (cut.path, cut.tensor, cut.dim) not in inner)
    group = Group("the embedding width", "embedding", width, cuts, tuple(_numbers(model, width, cuts)))
    # Keep every other feature: a wrong slice would have to match at all of them to go unnoticed.
    kept = torch.arange(0, width, 2)[None]
    removed = copy.deepcopy(model)
    group.remove(removed, kept)
    if not outputs_match(sample, masked_norms(model, kept), removed):
        raise EmbeddingUnclear(f"cutting the {width} features between the blocks is not equivalent to masking them")
    return group


def masked_norms(model: nn.Module, kept: Kept) -> nn.Module:
    """Return a copy whose layer norms see only the kept features and hide the others from later layers."""
    masked = copy.deepcopy(model)
    for path, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            parent, _, name = path.rpartition(".")
            setattr(masked.get_submodule(parent), name, PartialLayerNorm(masked.get_submodule(path), kept[0]))  # type: ignore[arg-type]
    return masked


def _cuts(model: nn.Module, width: int, head: nn.Module) -> Iterator[Cut]:
    """Yield every dimension of that width which may hold the features between blocks."""
    for path, module in model.named_modules():
        if isinstance(module, LAYERS):
            if module is not head and module.weight.shape[0] == width:
                yield from layer_cuts(model, path, 0)
            if module.weight.shape[1] == width and getattr(module, "groups", 1) == 1:
                yield from layer_cuts(model, path, 1)
            continue
        for name, tensor in module.named_parameters(recurse=False):
            if tensor.shape[-1] == width:  # norms, embeddings, class and position tokens, layer scales
                yield Cut(path, name, tensor.ndim - 1)


def _numbers(model: nn.Module, width: int, cuts: Sequence[Cut]) -> Iterator[Number]:
    """Yield the attributes that hold the width: those of layers, and other known ones."""
    layers = {cut.path for cut in cuts if isinstance(model.get_submodule(cut.path), LAYERS)}
    for cut in cuts:
        if cut.tensor == "weight" and cut.path in layers:
            yield layer_number(model, cut.path, cut.dim)
    for path, module in model.named_modules():
        if not isinstance(module, LAYERS):
            yield from (Number(path, name) for name in NUMBERS if vars(module).get(name) in (width, (width,)))
