"""Whether a model that was cut still works, and whether cutting is what it is taken for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from compress.core.foreign_code import MODEL_FAILURES, describe_error, eval_copy
from compress.pruning.groups import Group, Kept
from compress.pruning.masking import NotComparable, lively, masked
from compress.pruning.proof import OF_EFFECT, OF_OUTPUT, bisect_valid

TOLERANCE = 1e-4
"""Of outputs that should be equal, as a share of the largest; float32 sums in another order differ by far less."""


def why_broken(pruned: nn.Module, original: nn.Module, sample: torch.Tensor) -> str:
    """Why a pruned model can't be used, or an empty string: it must run in both modes and keep its outputs.

    Args:
        pruned: in eval mode; left as it is.
        original: what it was made from.
        sample: (2, ...): batch norms need two to train.
    """
    training = copy.deepcopy(pruned)
    training.train()
    try:
        with torch.no_grad():
            outputs = pruned(sample)
            training(sample)
            wanted = eval_copy(original)(sample).shape
    except MODEL_FAILURES as error:
        return f"its forward pass fails once channels are removed ({describe_error(error)})"
    if outputs.shape != wanted:
        return f"its output changes its shape from {tuple(wanted)} to {tuple(outputs.shape)} once channels are removed"
    if not bool(torch.isfinite(outputs).all()):
        return "its outputs are not finite once channels are removed"
    return ""


def why_inexact(model: nn.Module, cut: Callable[[nn.Module], object], sample: torch.Tensor) -> str:
    """Why removing channels is something else than masking them, or an empty string.

    Tried on a copy with numbers among which none is like another, so that what was removed can be read off them. A
    trace can take one channel for another where both are of one width: behind channels that were padded, for example.

    Args:
        model: left as it is.
        cut: removes channels of the model that it is given, in place.
        sample: (2, ...) to compare on.
    """
    original = eval_copy(model)
    lively(original, sample)
    pruned = copy.deepcopy(original)
    cut(pruned)
    with torch.no_grad():
        try:
            wanted = masked(original, pruned)(sample)
        except NotComparable as error:
            return f"that removing its channels is the same as masking them can't be shown ({error})"
        difference = float((pruned(sample) - wanted).abs().max())
        effect = float((original(sample) - wanted).abs().max())
    if difference <= max(OF_EFFECT * effect, OF_OUTPUT * float(wanted.abs().max())):
        return ""
    return (
        f"removing its channels is not the same as masking them: outputs differ by {difference:.2g} where masking "
        f"changes them by {effect:.2g}"
    )


def verified_groups(model: nn.Module, sample: torch.Tensor, groups: Sequence[Group]) -> list[Group]:
    """The groups of which removing every other unit gives exactly what masking it gives.

    They are tried together, and by halves where that fails.

    Args:
        model: in eval mode; left as it is.
        sample: (1, ...) that the two are compared on.
        groups: that may be wrong, such as a channel that is read by more than the group says.
    """
    return bisect_valid(
        [group for group in groups if group.units > 1],
        lambda some: outputs_match(sample, _tried(model, some, Group.mask), _tried(model, some, Group.remove)),
    )


def _tried(model: nn.Module, groups: Iterable[Group], change: Callable[[Group, nn.Module, Kept], object]) -> nn.Module:
    changed = copy.deepcopy(model)
    for group in groups:
        change(group, changed, torch.arange(0, group.units, 2).expand(group.rows, -1))
    return changed


def outputs_match(sample: torch.Tensor, wanted: nn.Module, other: nn.Module) -> bool:
    """Whether a model runs and gives the outputs that another gives."""
    with torch.no_grad():
        expected = wanted(sample)
        try:
            found = other(sample)
        except MODEL_FAILURES:
            return False  # what was cut does not fit together, which is what is asked here
    same_shape = isinstance(found, torch.Tensor) and found.shape == expected.shape
    return same_shape and bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
