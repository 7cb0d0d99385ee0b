"""The original network with the pruned channels masked, which a pruned network must be equivalent to.

A removed channel corresponds to one that nothing produces or reads: the weights that produce it and those that read it
are 0. If pruning only reports how many channels were removed, the removed ones are identified by the weights: those of
the pruned network are the original's without some rows and columns, and in a network after :func:`lively` no two values
of a tensor that could be confused are equal.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float32]
Kept = tuple[npt.NDArray[np.int64], ...]
"""For each dimension of a tensor, the remaining indices in order."""

MOMENTUM_OF_ONE_BATCH = 1.0
ACROSS_CHANNELS = ("LayerNorm", "GroupNorm", "RMSNorm", "GlobalResponseNorm")
"""Normalisations whose statistics run over channels; a masked one only uses those that remain."""


class NotComparable(Exception):
    """The pruned network's weights are not part of the original's."""


def lively(model: nn.Module, samples: torch.Tensor, seed: int = 0) -> None:
    """Give an untrained network values like those of a trained one, in place, so that every channel has an effect.

    Scales, shifts and constants of an untrained network are all equal, and its batch norms have no statistics.

    Args:
        model: model in evaluation mode.
        samples: (n, C, H, W) for the statistics of batch norms.
        seed: seed of the values.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim > 1 and bool((tensor != tensor.flatten()[0]).any()):
                continue  # already random
            # A permutation, so that all values differ and each identifies its channel.
            spread = torch.randperm(tensor.numel(), generator=random).view(tensor.shape) / max(1, tensor.numel())
            shift = name.endswith("bias") or not bool(tensor.any())
            tensor.copy_((spread - 0.5) * 0.2 if shift else spread + 0.5)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            # A momentum of 1 makes the running statistics those of this batch, not a mix with the initial 0 and 1.
            norm.momentum = MOMENTUM_OF_ONE_BATCH
            norm.train()
        model(samples)
        for norm in norms:
            norm.eval()


def masked(original: nn.Module, pruned: nn.Module) -> nn.Module:
    """Return a copy of the original in which the pruned channels are masked.

    Raises:
        NotComparable: a weight of the pruned network is not the original's without some rows and columns.
    """
    copied = copy.deepcopy(original)
    wanted, found = copied.state_dict(), pruned.state_dict()
    if set(wanted) != set(found):
        names = ", ".join(sorted(set(wanted) ^ set(found))[:3])
        raise NotComparable(f"pruning left tensors of other names ({names})")
    left: dict[str, Kept] = {}
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            whole, part = tensor.numpy().copy(), found[name].numpy()
            # Biases and statistics lose the same outputs as their weight; matched alone they could fit several places.
            beside = left.get(f"{name.rpartition('.')[0]}.weight", ())
            left[name] = kept = beside[:1] if _is_part(whole, part, beside[:1]) else _kept(whole, part, name)
            # Zero everywhere but at the remaining places: that is the mask.
            tensor.zero_()
            tensor[np.ix_(*kept)] = found[name]
        # The proof compares removal with masking and nothing else, so no other value may differ.
        elif not torch.equal(tensor, found[name]):
            raise NotComparable(f"pruning changed the values of '{name}'")
    for path, norm in list(copied.named_modules()):
        kept = left.get(f"{path}.weight", ())
        # Zeros would change the mean and deviation of the others.
        if kept and any(kind.__name__ in ACROSS_CHANNELS for kind in type(norm).__mro__):
            copied.set_submodule(path, PartialNorm(pruned.get_submodule(path), kept[-1], _channel_axis(norm)))
    copied.eval()
    return copied


class PartialNorm(nn.Module):
    """A normalisation over the remaining channels; masked ones are neither read nor written.

    Args:
        norm: normalisation over the remaining channels.
        kept: indices of these channels.
        axis: axis of the channels.
    """

    def __init__(self, norm: nn.Module, kept: npt.NDArray[np.int64], axis: int) -> None:
        super().__init__()
        self.norm, self.kept, self.axis = norm, torch.from_numpy(kept), axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the same shape as ``x``."""
        normalised = self.norm(x.index_select(self.axis, self.kept))
        return torch.zeros_like(x).index_copy(self.axis, self.kept, normalised)


def _channel_axis(norm: nn.Module) -> int:
    plain = type(norm).__name__ in ("LayerNorm", "RMSNorm") or getattr(norm, "channel_dim", 1) == -1
    return -1 if plain else 1


def _kept(whole: Array, part: Array, name: str) -> Kept:
    """Return the indices of each dimension of ``whole`` that are in ``part``.

    Raises:
        NotComparable: it is not a part of it.
    """
    if whole.ndim == part.ndim:
        # The first element of the part is looked for in the whole; each match fixes a candidate for all axes.
        for corner in np.argwhere(whole == part[(0,) * part.ndim]).tolist():
            lines = [_line(whole, part, corner, axis) for axis in range(whole.ndim)]
            kept = tuple(_settled(whole, part, lines, axis) for axis in range(whole.ndim))
            if _is_part(whole, part, kept):
                return kept
    raise NotComparable(f"'{name}' {part.shape} of the pruned network is not part of the original's {whole.shape}")


def _is_part(whole: Array, part: Array, kept: Kept) -> bool:
    """Return whether the kept indices of ``whole`` give ``part``."""
    if [len(each) for each in kept] != list(part.shape) or not all((np.diff(each) > 0).all() for each in kept):
        return False
    return np.array_equal(whole[np.ix_(*kept)], part)


def _line(whole: Array, part: Array, corner: list[int], axis: int) -> list[list[int]]:
    """For each value of ``part`` along one axis, return its positions in ``whole``, on the line through the corner."""
    if whole.shape[axis] == part.shape[axis]:
        return [[index] for index in range(whole.shape[axis])]
    line = whole[tuple(slice(None) if i == axis else place for i, place in enumerate(corner))]
    wanted = part[tuple(slice(None) if i == axis else 0 for i in range(part.ndim))]
    places: dict[float, list[int]] = {}
    for index, value in enumerate(line.tolist()):
        places.setdefault(value, []).append(index)
    return [places.get(value, []) for value in wanted.tolist()]


def _settled(whole: Array, part: Array, lines: list[list[list[int]]], axis: int) -> npt.NDArray[np.int64]:
    """Return one position per value along an axis; slices across the line distinguish equal values on it."""
    across = [[i for i, each in enumerate(line) if len(each) == 1] for line in lines]
    there = [[lines[i][j][0] for j in each] for i, each in enumerate(across)]

    def alike(place: int, index: int) -> bool:
        first, second = (
            np.ix_(*(*at[:axis], [position], *at[axis + 1 :])) for at, position in ((there, place), (across, index))
        )
        return np.array_equal(whole[first], part[second])

    chosen: list[int] = []
    for index, places in enumerate(lines[axis]):
        chosen += places if len(places) == 1 else [place for place in places if alike(place, index)][:1]
    return np.array(chosen, dtype=np.int64)
