"""Reconstruction for passes: kept only if it brings the outputs closer, and added to the record."""

from __future__ import annotations

import copy

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import MODEL_FAILURES, describe_error
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.program import NotTraceable
from compress.pruning.reconstruction import Changes, reconstruct
from compress.pruning.samples import Samples

CHECKED = 64
"""Number of samples on which outputs are compared, from the calibration part if there is one."""


def reconstructed(
    record: PassRecord,
    original: nn.Module,
    changed: nn.Module,
    changes: Changes,
    context: PassContext,
    samples: int,
) -> PassRecord:
    """Refit a changed model's layers in place to its original; return the record with the result, or why it failed.

    Args:
        record: record of what was done so far.
        original: original in eval mode on the CPU; not modified.
        changed: changed model in eval mode on the CPU.
        changes: what was changed.
        context: context of the pass.
        samples: maximum number of samples for the refit.
    """
    # Least squares improves each layer on its samples, but not always the outputs on others.
    before = copy.deepcopy(changed.state_dict())
    checked = context.sample(CHECKED)
    missed = output_error(original, changed, checked)
    try:
        with context.progress.task("Refitting layers") as bar:
            refits = reconstruct(
                original, changed, changes, Samples(context, samples), seed=context.seed, advance=bar.advance
            )
    except NotTraceable as error:
        return _without(record, changed, before, str(error))
    except MODEL_FAILURES as error:
        return _without(record, changed, before, f"running the model layer by layer failed ({describe_error(error)})")
    if not refits.layers:
        return _without(record, changed, before, "no layer can compensate for what was removed")
    left = output_error(original, changed, checked)
    # Written so that NaN fails too.
    if not left < missed:
        why = f"the outputs would be further from the original's ({left:.3g} of their variance instead of {missed:.3g})"
        return _without(record, changed, before, why)
    details = {**refits.to_json(), "output_error_before": missed, "output_error_after": left}
    return PassRecord({**record.done, "reconstruction": details}, (*record.declined, *refits.declined))


def output_error(original: nn.Module, changed: nn.Module, samples: torch.Tensor) -> float:
    """Return the mean squared difference of two models' outputs, as a share of the variance of the first one's."""
    with torch.no_grad():
        wanted, found = (
            torch.cat([model(part) for part in samples.split(16)]).double() for model in (original, changed)
        )
        variance = (wanted - wanted.mean(0)).square().mean().clamp(min=torch.finfo(torch.float32).tiny)
        return float((wanted - found).square().mean() / variance)


def _without(record: PassRecord, changed: nn.Module, before: dict[str, torch.Tensor], why: str) -> PassRecord:
    """Restore the model's weights, and return the record with the reason."""
    changed.load_state_dict(before)
    return PassRecord(record.done, (*record.declined, Declined("reconstruction", why)))
