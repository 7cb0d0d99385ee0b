"""Cost of a pruned model beside the unpruned one, both in the form that ships.

Fewer multiply-adds need not cost less: integer kernels work in steps of 8, 16 or 32 channels, and a block with a few
channels fewer can take longer.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from torch import nn

from certify.core.errors import MeasureError, ModelError
from certify.core.evidence import DEFAULT_RUNTIME
from certify.measure import runtimes
from certify.model_file.suffixes import ONNX
from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import Declined, PassRecord
from compress.costs.cost_table import WORDS, Quantity
from compress.costs.ratios import share_of
from compress.costs.shipped_form import whole_model
from compress.costs.table_maker import SAMPLES, table_maker
from compress.costs.timing import Conditions


def unless_costlier(
    model: nn.Module, pruned: nn.Module, record: PassRecord, context: PassContext
) -> tuple[nn.Module, PassRecord]:
    """Return the pruned model, or an unchanged copy of the unpruned one if the pruned one is shown to cost more.

    Both run on this machine in the precision that the later passes produce; the record tells the measured share.
    Nothing is measured for a job that measures nothing or whose runtime takes other files than ONNX.

    Args:
        model: unpruned model.
        pruned: pruned model.
        record: record of the pruning.
        context: context of the pass.
    """
    if context.runtime is None:
        return pruned, record
    runtime = DEFAULT_RUNTIME if context.runtime == runtimes.AUTO else context.runtime
    if runtimes.require(runtime).suffix != ONNX:
        return pruned, record
    try:
        maker = table_maker(Conditions(runtime), None, context)
        with tempfile.TemporaryDirectory(prefix="leanmark-compare-") as folder:
            files = {
                name: whole_model(eval_copy(each), context.preprocess, Path(folder))
                for name, each in (("whole", model), ("pruned", pruned))
            }
        costs = maker.side_by_side(files, context.preprocess, context.samples(SAMPLES))
    except (MeasureError, ModelError) as error:
        return pruned, replace(record, declined=(*record.declined, Declined("comparison of costs", str(error))))
    quantity: Quantity = "latency" if costs["whole"].energy_j is None else "energy"
    share, precision = share_of(costs["pruned"], costs["whole"], quantity), maker.shipping.precision
    # Compare the whole interval, so that pruning is undone only where it is shown to cost more.
    if share.low > 1:
        why = (
            f"pruned, it takes {share} times the {WORDS[quantity]} of the unpruned model in {precision} on this "
            f"machine; ask for {quantity} instead"
        )
        return eval_copy(model), PassRecord.refused(why, record.declined)
    measured = {"quantity": quantity, "precision": precision, "share": share.to_json()}
    return pruned, replace(record, done={**record.done, "measured_cost": measured})
