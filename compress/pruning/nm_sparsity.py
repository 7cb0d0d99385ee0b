"""Masks that leave two of every four weights."""

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
    """(weight, mask) of each layer that takes the pattern, by name, and the layers that do not.

    Args:
        model: in eval mode.
        sample: (1, ...) that finds the head, which keeps its weights.
    """
    head = find_head(model, sample)
    masks, declined = {}, []
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        if layer is head:
            declined.append(Declined(name, "the head is small, and its errors are not averaged out behind it"))
        elif layer.weight.shape[1] % OF:
            declined.append(Declined(name, f"it takes {layer.weight.shape[1]} channels, no multiple of {OF}"))
        else:
            masks[name] = (layer.weight, largest_of_four(layer.weight.detach()))
    return masks, declined


def largest_of_four(weight: torch.Tensor) -> torch.Tensor:
    """1 at the two largest of every four weights along the inputs (dimension 1), 0 at the others."""
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
    """Refit the weights that are left, in place, to what the original gives; the record with what that did.

    Args:
        record: of what was done so far.
        original: in eval mode on the CPU; left as it is.
        sparse: in eval mode on the CPU, its zeros in place.
        masks: see :func:`pattern_masks`.
        context: of the pass.
        samples: that the layers are refitted on, at most.
    """
    changes = Changes(masks={path: mask for path, (_, mask) in masks.items()})
    return reconstructed(record, original, sparse, changes, context, samples)
