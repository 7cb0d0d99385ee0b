"""Masks that keep two of every four weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.channels import find_head
from compress.pruning.reconstruction import Changes
from compress.pruning.refitting import reconstructed

KEPT, OF = 2, 4


def pattern_masks(
    model: nn.Module, sample: torch.Tensor
) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], list[Declined]]:
    """Return (weight, mask) of each layer that fits the pattern, by name, and the layers that do not.

    Args:
        model: model in eval mode.
        sample: (1, ...) for finding the head, which keeps its weights.
    """
    head = find_head(model, sample)
    masks, declined = {}, []
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        if layer is head:
            declined.append(Declined(name, "the head is small, and no later layer averages out its errors"))
        elif layer.weight.shape[1] % OF:
            declined.append(Declined(name, f"its {layer.weight.shape[1]} input channels are not a multiple of {OF}"))
        else:
            masks[name] = (layer.weight, largest_of_four(layer.weight.detach()))
    return masks, declined


def largest_of_four(weight: torch.Tensor) -> torch.Tensor:
    """Return 1 at the two largest of every four weights along the inputs (dimension 1), 0 elsewhere.

    Example:
        >>> largest_of_four(torch.tensor([[0.1, -3.0, 2.0, 0.5]])).tolist()
        [[0.0, 1.0, 1.0, 0.0]]
    """
    # Hardware reads groups of four along the inputs, which the scalar product runs over.
    fours = weight.movedim(1, -1).reshape(-1, OF)
    mask = torch.zeros_like(fours).scatter_(1, fours.abs().topk(KEPT, dim=1).indices, 1.0)
    moved = mask.reshape(weight.movedim(1, -1).shape)
    return moved.movedim(-1, 1).contiguous()


def refit_around_zeros(
    record: PassRecord,
    original: nn.Module,
    sparse: nn.Module,
    masks: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    context: PassContext,
    samples: int,
) -> PassRecord:
    """Refit the remaining weights, in place, to the original's outputs; return the record with the result.

    Args:
        record: record of what was done so far.
        original: original in eval mode on the CPU; not modified.
        sparse: sparse model in eval mode on the CPU.
        masks: see :func:`pattern_masks`.
        context: context of the pass.
        samples: maximum number of samples for the refit.
    """
    changes = Changes(masks={path: mask for path, (_, mask) in masks.items()})
    return reconstructed(record, original, sparse, changes, context, samples)
