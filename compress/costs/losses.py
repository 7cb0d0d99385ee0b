"""Accuracy loss of each narrowing of a block: how far the model's outputs move on validation data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.progress import Progress
from compress.core.context import PassContext
from compress.core.foreign_code import MODEL_FAILURES
from compress.costs.items import FLOAT_BITS, FULL, Item, Variant
from compress.costs.rounding import Rounding, int4_weights
from compress.pruning.program import NotTraceable, Program
from compress.pruning.provenance import Provenance
from compress.pruning.reconstruction import Changes, reconstruct
from compress.pruning.samples import Samples

BATCH = 64
TRIAL_SAMPLES = 128
"""Samples for refitting a narrowed block before its loss is measured; the chosen model is refitted on more."""

Change = Callable[[nn.Module, Mapping[int, Variant]], nn.Module]
"""Returns a copy of a model in which some items, by index, are replaced by variants."""


def divergence(model: nn.Module, images: torch.Tensor, wanted: torch.Tensor) -> float:
    """Compute the Kullback-Leibler divergence of a model's outputs from the original's, in nats per sample.

    Args:
        model: model in eval mode.
        images: (n, ...) samples.
        wanted: (n, classes) log-probabilities of the original, from :func:`log_shares`.
    """
    return divergence_of(log_shares(model, images), wanted)


def divergence_of(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Compute the Kullback-Leibler divergence of log-probabilities from those of the original, in nats per sample."""
    # A divergence is never negative, but its rounded sum may be.
    return max(0.0, float(F.kl_div(found, wanted, reduction="batchmean", log_target=True)))


def log_shares(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities that a model gives to the classes, (n, classes)."""
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(BATCH)]).log_softmax(1)


def measured_losses(
    model: nn.Module,
    candidates: Sequence[Sequence[Variant]],
    images: torch.Tensor,
    change: Change,
    progress: Progress,
    unchanged: Variant = FULL,
) -> list[list[float]]:
    """Measure the divergence of each candidate, with one item changed at a time; infinite if outputs are not finite.

    Args:
        model: the original, in eval mode; not modified.
        candidates: variants of each item.
        images: validation samples.
        change: makes the changed model, including any refit.
        progress: where to report progress.
        unchanged: the variant of the original, which loses nothing.
    """
    wanted = log_shares(model, images)
    total = sum(variant != unchanged for variants in candidates for variant in variants)
    with progress.task("Measuring the loss of each block", total) as bar:

        def lost(number: int, variant: Variant) -> float:
            if variant == unchanged:
                return 0.0
            loss = divergence(change(model, {number: variant}), images, wanted)
            bar.advance(1)
            return math.inf if math.isnan(loss) else loss

        return [[lost(number, variant) for variant in variants] for number, variants in enumerate(candidates)]


class Narrower:
    """Changes models: removes the least important units, drops blocks, and refits what it changed.

    Args:
        items: blocks of the model.
        scores: (rows, units) importance of the units, by the group's name.
        context: context whose samples layers are refitted on; None for no refit.
        rounding: how blocks that do not stay in floats are rounded; None for no rounding.
    """

    def __init__(
        self,
        items: Sequence[Item],
        scores: Mapping[str, torch.Tensor],
        context: PassContext | None = None,
        rounding: Rounding | None = None,
    ) -> None:
        self._items, self._scores, self._context, self._rounding = items, scores, context, rounding
        self._program: Program | None = None

    def cut(self, model: nn.Module, variants: Mapping[int, Variant]) -> tuple[nn.Module, Changes]:
        """Return a changed copy without a refit, and what its layers lost."""
        changed, lost = copy.deepcopy(model), Provenance()
        for number, variant in sorted(variants.items()):
            kept = {name: self._kept(name, width) for name, width in variant.widths.items()}
            for group in self._items[number].groups:
                if group.name in kept:
                    group.note(lost, changed, kept[group.name])
            self._items[number].change(changed, variant, kept)
        return changed, Changes(lost.outputs, lost.inputs)

    def __call__(self, model: nn.Module, variants: Mapping[int, Variant]) -> nn.Module:
        """Return a changed copy whose layers are refitted on a few samples, and whose blocks are rounded."""
        changed = self._refitted(model, variants)
        if self._rounding is not None:
            present = {self._items[number].path: each for number, each in variants.items() if not each.dropped}
            self._rounding.apply(changed, [path for path, each in present.items() if not each.floats])
            int4_weights(changed, [path for path, each in present.items() if each.bits < FLOAT_BITS])
        return changed

    def _refitted(self, model: nn.Module, variants: Mapping[int, Variant]) -> nn.Module:
        """Return a changed copy, refitted if that is possible and does not fail.

        Only layers that lost units are refitted, and all layers after a dropped block.
        """
        changed, changes = self.cut(model, variants)
        # A block that only changes its format lost no units that a refit could make up for.
        if self._context is None or not any(each.widths or each.dropped for each in variants.values()):
            return changed
        mended, dropped = copy.deepcopy(changed), any(variant.dropped for variant in variants.values())
        samples = Samples(self._context, TRIAL_SAMPLES)
        try:
            original = self._program_of(model, samples)
            reconstruct(original, mended, changes, samples, seed=self._context.seed, every=dropped)
        except (NotTraceable, *MODEL_FAILURES):  # the record states once whether the chosen model can be refitted
            return changed
        return mended

    def _program_of(self, model: nn.Module, samples: Samples) -> Program:
        """Return the operators of the original, traced once for all variants."""
        if self._program is None or self._program.model is not model:
            self._program = Program.of(model, samples.batch(0))
        return self._program

    def _kept(self, name: str, width: int) -> torch.Tensor:
        """Return the units of a group that stay, (rows, width)."""
        return self._scores[name].sort(dim=1).indices[:, -width:].sort(dim=1).values
