"""Accuracy loss of each narrowing of a block: how far the model's outputs move on validation data."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.progress import Progress
from compress.core.context import PassContext
from compress.core.foreign_code import MODEL_FAILURES
from compress.costs.block_runs import BlockRuns
from compress.costs.items import FLOAT_BITS, FULL, Item, Variant
from compress.costs.known_losses import key_of
from compress.costs.rounding import Rounding, int4_weights
from compress.pruning.program import NotTraceable, Program
from compress.pruning.provenance import Provenance
from compress.pruning.reconstruction import Changes, reconstruct
from compress.pruning.samples import Samples

BATCH = 64
TRIAL_SAMPLES = 128
"""Samples for refitting a narrowed block before its loss is measured; the chosen model is refitted on more."""


def divergence_of(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Compute the Kullback-Leibler divergence of log-probabilities from those of the original, in nats per sample."""
    # A divergence is never negative, but its rounded sum may be.
    return max(0.0, float(F.kl_div(found, wanted, reduction="batchmean", log_target=True)))


def log_shares(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities that a model gives to the classes, (n, classes)."""
    return _outputs(model, images).log_softmax(1)


def _outputs(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(BATCH)])


def measured_losses(
    model: nn.Module,
    candidates: Sequence[Sequence[Variant]],
    images: torch.Tensor,
    narrower: Narrower,
    progress: Progress,
    unchanged: Variant = FULL,
) -> list[list[float]]:
    """Measure the divergence of each candidate, with one item changed at a time; infinite if outputs are not finite.

    Args:
        model: the original, in eval mode; not modified.
        candidates: variants of each item.
        images: validation samples.
        narrower: changes the model.
        progress: where to report progress.
        unchanged: the variant of the original, which loses nothing.
    """
    wanted = log_shares(model, images)
    tried = [[variant for variant in variants if variant != unchanged] for variants in candidates]
    losses: list[list[float]] = [[0.0] * len(variants) for variants in candidates]
    with progress.task("Measuring the loss of each block", sum(map(len, tried))) as bar:

        def note(number: int, variant: Variant, outputs: torch.Tensor) -> None:
            loss = divergence_of(outputs.log_softmax(1), wanted)
            losses[number][candidates[number].index(variant)] = math.inf if math.isnan(loss) else loss
            bar.advance(1)

        left = {number: list(variants) for number, variants in enumerate(tried)}
        with contextlib.ExitStack() as stack:
            runs = narrower.runs(model, images)
            numbers = [] if runs is None else [each for each in stack.enter_context(runs).numbers if left[each]]
            for number in numbers:
                assert runs is not None
                for variant, outputs in runs.outputs(number, tried[number]):
                    if outputs is not None:
                        note(number, variant, outputs)
                        left[number].remove(variant)
        for number, variants in left.items():
            for variant in variants:
                note(number, variant, _outputs(narrower(model, {number: variant}), images))
    return losses


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

    def key(self, model: nn.Module, images: torch.Tensor, unchanged: Variant) -> str:
        """Return a digest of everything that the loss of a variant of a model depends on."""
        settings: list[object] = [unchanged, [(item.path, item.units) for item in self._items], sorted(self._scores)]
        data = [images, *(self._scores[name] for name in sorted(self._scores))]
        if self._context is not None:
            samples = Samples(self._context, TRIAL_SAMPLES)
            settings.append(self._context.seed)
            data += [samples.batch(number) for number in range(samples.batches)]
        if self._rounding is not None:
            settings += [self._rounding.target, self._rounding.per_channel]
            data.append(self._rounding.samples)
        return key_of(model, settings, data)

    def runs(self, model: nn.Module, images: torch.Tensor) -> BlockRuns | None:
        """Return what runs the variants of one block after the other, or None if the model cannot be traced."""
        samples = None if self._context is None else Samples(self._context, TRIAL_SAMPLES)
        first = images[:BATCH] if samples is None else samples.batch(0)
        try:
            program = self._program_of(model, first)
        except NotTraceable:
            return None
        seed = 0 if self._context is None else self._context.seed
        return BlockRuns(program, self._items, self.cut, images, len(first), samples, self._rounding, seed)

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
            original = self._program_of(model, samples.batch(0))
            reconstruct(original, mended, changes, samples, seed=self._context.seed, every=dropped)
        except (NotTraceable, *MODEL_FAILURES):  # the record states once whether the chosen model can be refitted
            return changed
        return mended

    def _program_of(self, model: nn.Module, batch: torch.Tensor) -> Program:
        """Return the operators of the original, traced once for all variants."""
        if self._program is None or self._program.model is not model:
            self._program = Program.of(model, batch)
        return self._program

    def _kept(self, name: str, width: int) -> torch.Tensor:
        """Return the units of a group that stay, (rows, width)."""
        return self._scores[name].sort(dim=1).indices[:, -width:].sort(dim=1).values
