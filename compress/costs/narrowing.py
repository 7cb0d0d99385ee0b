"""Narrowing a model to a share of its energy or time, by the measured costs of its blocks in the precision that ships.

A knapsack chooses all widths, the blocks to drop and the format of each block (integers, floats, int4 weights)
together. It weighs the loss of each variant, measured with one block changed at a time, against its saving, from a
table of measured costs. A float block is charged for conversions to integers and, if it has 2-D convolutions, for
changes of layout, except between it and another float block where a block of that shape was measured. The narrowed
model is then exported and measured against the whole one. If it misses the target, or costs much less than predicted,
the table is corrected by that measurement, and another model is chosen.
Kurtic et al., "ZipLM", NeurIPS 2023 (arXiv 2302.04089) and Shen et al., "HALP", NeurIPS 2022 (arXiv 2110.10811) choose
widths by tables of time and importances of units.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certify.core.estimate import Estimate
from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.model_stats import count_macs
from compress.core.pass_protocol import Declined, PassRecord
from compress.core.samples import as_tensor
from compress.costs import shipped_form as forms
from compress.costs.aiming import Attempt, Met, make_least_lossy
from compress.costs.cost_table import METHOD, WORDS, CostTable, quantity_of
from compress.costs.goal import NO_METER, CostGoal
from compress.costs.groups import Narrowable, find_narrowable
from compress.costs.items import FLOATS, FULL, INT4, Variant
from compress.costs.known_losses import remembered
from compress.costs.losses import Narrower, measured_losses
from compress.costs.ratios import product, share_of
from compress.costs.rounding import Rounding
from compress.costs.shipped_form import KeptNodes, WholeModel
from compress.costs.table_maker import SAMPLES, TableMaker, table_maker
from compress.pruning.equivalence import why_broken
from compress.pruning.reconstruction import Changes
from compress.pruning.refitting import reconstructed
from compress.pruning.rules import PruneSettings

RANGED = 32
"""Number of samples from which the ranges of rounded activations come."""


@dataclass(frozen=True)
class Comparison:
    """Measured cost of a narrowed model.

    Attributes:
        share: share of the original's cost in the same form.
        original: share of the cost of the original in floats that the original has in this form.
        kept: nodes that do not become integers.
    """

    share: Estimate
    original: Estimate
    kept: KeptNodes


Narrowed = tuple[nn.Module, Changes, Comparison]
"""A narrowed model, what was changed in it, and its cost."""


class Narrowing:
    """Narrowing of one model to a goal.

    Args:
        settings: settings of the pass.
        goal: target.
        model: model to narrow; not modified.
        context: context of the pass; the shares refer to its teacher, if it has one.
        maker: makes tables and files.
    """

    def __init__(
        self,
        settings: PruneSettings,
        goal: CostGoal,
        model: nn.Module,
        context: PassContext,
        maker: TableMaker,
    ) -> None:
        self._settings, self._goal, self._context, self._maker = settings, goal, context, maker
        self._model = eval_copy(model)
        self._original = eval_copy(context.teacher or model)
        self._samples = context.samples(SAMPLES)
        self._whole: WholeModel | None = None

    def carry_out(self) -> tuple[nn.Module, PassRecord]:
        """Return the narrowed model, or an unchanged one with the reason."""
        goal, what = self._goal, WORDS[self._goal.quantity]
        shipping = self._maker.shipping
        formats = forms.formats_of(shipping.target) if shipping.mixed else ()
        found = find_narrowable(self._settings, self._model, self._context, formats=formats)
        if not found.items:
            return self._refused(f"it has no block whose {what} can be lowered: no group of units can be removed")
        table = self._maker.make(found.model, found.items, self._context.preprocess, self._samples)
        if quantity_of(table.whole, goal.quantity) is None:
            return self._refused(NO_METER)
        candidates = [table.worthwhile(item, goal.quantity) for item in found.items]
        if formats:
            found = replace(found, declined=(*found.declined, *table.without_gain(candidates, goal.quantity)))
        if table.predicted(table.cheapest(candidates, goal.quantity), goal.quantity).value >= 1:
            return self._refused(f"no narrower block takes less {what} in {table.key['precision']} on this machine")
        rounding = Rounding(shipping.target, shipping.per_channel, self._context.sample(RANGED))
        narrower = Narrower(
            found.items,
            found.scores,
            self._context if self._settings.reconstruct else None,
            rounding if shipping.mixed else None,
        )
        # Where formats are free, the original is the float model, and an int8 block at full width already loses
        # something.
        unchanged = replace(FULL, floats=shipping.mixed)
        images, progress = self._judged(), self._context.progress
        losses = remembered(
            narrower.key(found.model, images, unchanged),
            candidates,
            lambda missing: measured_losses(found.model, missing, images, narrower, progress, unchanged),
        )
        return self._nearest(found, table, *_finite(candidates, losses), narrower)

    def _nearest(
        self,
        found: Narrowable,
        table: CostTable,
        candidates: Sequence[Sequence[Variant]],
        losses: Sequence[Sequence[float]],
        narrower: Narrower,
    ) -> tuple[nn.Module, PassRecord]:
        """Make and measure up to three models; return the least lossy one that meets the goal."""
        goal = self._goal

        def made(chosen: Sequence[Variant]) -> Attempt[Narrowed] | str:
            pruned, changes = narrower.cut(found.model, dict(enumerate(chosen)))
            if why := why_broken(pruned, self._model, self._context.sample(2)):
                return why
            compared = self._compare(pruned, _paths(found, chosen, FLOATS), _paths(found, chosen, INT4))
            return Attempt((pruned, changes, compared), compared.share)

        whole = self._share_of_original(found.model)
        met = make_least_lossy(goal, table, candidates, losses, whole, made, "the cheapest blocks")
        if isinstance(met, str):
            why = f"{goal.share:g} of the {WORDS[goal.quantity]} cannot be reached: {met}"
            return self._refused(why, found.declined)
        pruned, changes, compared = met.attempt.made
        record = PassRecord(self._done(found, table, met, compared, pruned), found.declined)
        if goal.refit_samples:
            record = reconstructed(record, found.model, pruned, changes, self._context, goal.refit_samples)
        return pruned, record

    def _judged(self) -> torch.Tensor:
        data = self._context.data
        # The weights were fitted to the train part, so losses measured on it would be too small.
        split = data.validation or data.calibration or data.train
        if split is None:
            return self._context.sample(self._goal.samples)
        return as_tensor(self._context.preprocess.batch(split, range(min(self._goal.samples, len(split)))))

    def _share_of_original(self, model: nn.Module) -> Estimate:
        """Return the cost of the model before it is narrowed, as a share of the original's; 1 if they are the same."""
        if not any(self._context.earlier):
            return Estimate.exact(1.0, "1", METHOD)
        contract = self._context.preprocess
        with tempfile.TemporaryDirectory(prefix="leanmark-export-") as folder:
            self._whole = forms.whole_model(self._original, contract, Path(folder))
            models = {"whole": self._whole, "current": forms.whole_model(model, contract, Path(folder))}
        costs = self._maker.side_by_side(models, contract, self._samples)
        return share_of(costs["current"], costs["whole"], self._goal.quantity)

    def _compare(self, pruned: nn.Module, floats: Sequence[str], int4: Sequence[str]) -> Comparison:
        """Measure the narrowed model against the whole original in the same form, and the original in floats.

        Args:
            pruned: the narrowed model.
            floats: paths of its blocks that stay in floats.
            int4: paths of its blocks with int4 weights.
        """
        contract = self._context.preprocess
        with tempfile.TemporaryDirectory(prefix="leanmark-export-") as folder:
            # Exporting takes seconds, and the original is the same in each try.
            self._whole = self._whole or forms.whole_model(self._original, contract, Path(folder))
            exported = forms.whole_model(pruned, contract, Path(folder), [*floats, *int4])
        kept = KeptNodes(exported.names(floats), exported.names(int4))
        # Measure all of them in turn, because costs measured minutes apart are not comparable.
        models = {"whole": self._whole, "pruned": exported, "baseline": self._whole}
        costs = self._maker.side_by_side(models, contract, self._samples, ("baseline",), {"pruned": kept})
        share = share_of(costs["pruned"], costs["whole"], self._goal.quantity)
        return Comparison(share, share_of(costs["whole"], costs["baseline"], self._goal.quantity), kept)

    def _done(
        self, found: Narrowable, table: CostTable, met: Met[Narrowed], compared: Comparison, pruned: nn.Module
    ) -> dict[str, Any]:
        goal, chosen = self._goal, met.chosen
        widths = {name: width for each in chosen for name, width in each.widths.items()}
        units = {name: count for item in found.items for name, count in item.units.items()}
        sample = self._context.sample(1)
        return {
            "macs_share": count_macs(pruned, sample) / count_macs(self._original, sample),
            "way": "table",
            "asked": {goal.quantity: goal.share},
            "predicted_share": met.predicted.to_json(),
            "measured_share": compared.share.to_json(),
            "divergence": met.lost,
            "conditions": table.stated,
            "layers": {name: [units[name], width] for name, width in widths.items()},
            "dropped": [item.path for item, each in zip(found.items, chosen, strict=True) if each.dropped],
            "float_blocks": _paths(found, chosen, FLOATS),
            "float_nodes": list(compared.kept.floats),
            "int4_blocks": _paths(found, chosen, INT4),
            "int4_nodes": list(compared.kept.int4),
            "blocks_measured": table.measured,
            "predicted": {
                f"{goal.quantity}_ratio": product(met.predicted, compared.original).to_json(),
                "threads": table.stated["threads"],
            },
        }

    def _refused(self, why: str, parts: Iterable[Declined] = ()) -> tuple[nn.Module, PassRecord]:
        return self._model, PassRecord.refused(why, parts)


def _paths(found: Narrowable, chosen: Sequence[Variant], form: Variant) -> list[str]:
    """Return the paths of the blocks in a format."""
    return [item.path for item, each in zip(found.items, chosen, strict=True) if each.precision == form.precision]


def _finite(
    candidates: Sequence[Sequence[Variant]], losses: Sequence[Sequence[float]]
) -> tuple[list[list[Variant]], list[list[float]]]:
    """Return the candidates whose outputs are finite, and their losses."""
    rows = [
        [(variant, loss) for variant, loss in zip(variants, row, strict=True) if loss < math.inf]
        for variants, row in zip(candidates, losses, strict=True)
    ]
    return [[variant for variant, _ in row] for row in rows], [[loss for _, loss in row] for row in rows]


def narrow(
    settings: PruneSettings, goal: CostGoal, model: nn.Module, context: PassContext
) -> tuple[nn.Module, PassRecord]:
    """Narrow a copy of a model to a goal; return it unchanged, declined, if that is impossible.

    Args:
        settings: settings of the pass: importance, attention pruning, layers to keep, largest share lost, and whether
            blocks are refitted before their losses are measured.
        goal: target.
        model: model to narrow; not modified.
        context: context of the pass; the share refers to its teacher, if it has one.

    Raises:
        UsageError: the runtime cannot be used, or the data has only test samples.
        ModelError: the model, or one of its blocks, cannot be exported or quantized.
        MeasureError: a measurement failed.
    """
    maker = table_maker(goal.conditions, goal.precision, context)
    return Narrowing(settings, goal, model, context, maker).carry_out()
