"""Checks that a pruned model still works, and that removing channels is equivalent to masking them."""

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
"""Tolerance for equal outputs, as a share of the largest; reordered float32 sums differ by far less."""


def why_broken(pruned: nn.Module, original: nn.Module, sample: torch.Tensor) -> str:
    """Return why a pruned model cannot be used, or an empty string: it must run in the original's modes alike.

    Args:
        pruned: pruned model in eval mode; not modified.
        original: the model from which it was made.
        sample: (2, ...): batch norms need two samples to train.
    """
    # Some networks also take targets in training mode, so that the original fails there, too.
    failed: BaseException | None = _training_error(pruned, sample)
    if failed is not None and _training_error(original, sample) is not None:
        failed = None
    try:
        with torch.no_grad():
            outputs = pruned(sample)
            wanted = eval_copy(original)(sample).shape
    except MODEL_FAILURES as error:
        failed = error
    if failed is not None:
        return f"its forward pass fails once channels are removed ({describe_error(failed)})"
    # A reshape with a constant size can absorb removed channels into the batch.
    if outputs.shape != wanted:
        return f"its output changes its shape from {tuple(wanted)} to {tuple(outputs.shape)} once channels are removed"
    if not bool(torch.isfinite(outputs).all()):
        return "its outputs are not finite once channels are removed"
    return ""


def _training_error(model: nn.Module, sample: torch.Tensor) -> BaseException | None:
    """Return the error of a forward pass in training mode, or None."""
    training = copy.deepcopy(model)
    training.train()
    try:
        with torch.no_grad():
            training(sample)
    except MODEL_FAILURES as error:
        return error
    return None


def why_inexact(model: nn.Module, cut: Callable[[nn.Module], object], sample: torch.Tensor) -> str:
    """Return why removing channels is not equivalent to masking them, or an empty string.

    Tested on a copy whose values all differ, so that the removed channels can be identified by them. A trace can
    mistake one channel for another of the same width, for example after channels were padded.

    Args:
        model: model to test; not modified.
        cut: removes channels of the model that it is given, in place.
        sample: (2, ...) to compare on.
    """
    original = eval_copy(model)
    # Untrained networks have many equal values, so that removing the wrong channel might change nothing.
    lively(original, sample)
    pruned = copy.deepcopy(original)
    cut(pruned)
    with torch.no_grad():
        try:
            wanted = masked(original, pruned)(sample)
        except NotComparable as error:
            return f"it cannot be shown that removing its channels is equivalent to masking them ({error})"
        difference = float((pruned(sample) - wanted).abs().max())
        effect = float((original(sample) - wanted).abs().max())
    # Relative to masking's own effect; the second term covers channels that have next to none.
    if difference <= max(OF_EFFECT * effect, OF_OUTPUT * float(wanted.abs().max())):
        return ""
    return (
        f"removing its channels is not equivalent to masking them: outputs differ by {difference:.2g}, but masking "
        f"changes them by {effect:.2g}"
    )


def verified_groups(model: nn.Module, sample: torch.Tensor, groups: Sequence[Group]) -> list[Group]:
    """Return the groups for which removing every other unit gives exactly the same as masking it.

    They are tested together, and by halves if that fails.

    Args:
        model: model in eval mode; not modified.
        sample: (1, ...) on which the two are compared.
        groups: candidates, which may be wrong, for example if something outside the group reads a channel.
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
    """Return whether a model runs and gives the same outputs as another."""
    with torch.no_grad():
        expected = wanted(sample)
        try:
            found = other(sample)
        except MODEL_FAILURES:
            return False  # the cut parts do not fit together: the answer is no
    same_shape = isinstance(found, torch.Tensor) and found.shape == expected.shape
    return same_shape and bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
