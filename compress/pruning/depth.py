"""Dropping whole blocks of a network, those first that contribute least."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.forward_hooks import ForwardHook, attach_hooks
from compress.core.model_stats import count_macs
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.reconstruction import Changes
from compress.pruning.refitting import reconstructed


def drop_blocks(
    model: nn.Module, context: PassContext, *, macs: float, samples: int, refit_samples: int = 0
) -> tuple[nn.Module, PassRecord]:
    """Return a copy of a model with blocks dropped; unchanged and declined if the target cannot be reached.

    Args:
        model: model to prune; not modified.
        context: context of the pass; the share refers to its teacher, if it has one.
        macs: target MACs as a fraction of the original's.
        samples: number of samples for judging the absence of a block.
        refit_samples: number of samples for refitting the layers after dropped blocks; 0 disables it.

    Raises:
        UsageError: the data has only test samples.
    """
    sample = context.sample(1)
    shallow = eval_copy(model)
    original = count_macs(context.teacher or model, sample)
    if (left := count_macs(shallow, sample)) <= macs * original:
        return shallow, PassRecord.refused(f"it already has {left / original:.3f} of the original's multiply-adds")
    blocks = find_blocks(shallow, sample)
    images = context.sample(samples)
    wanted = _log_shares(shallow, images)
    dropped: dict[str, float] = {}
    with context.progress.task("Dropping blocks", total=len(blocks)) as bar:
        while left > macs * original and len(dropped) < len(blocks):
            remaining = [path for path in blocks if path not in dropped]
            # Measure again after each removal, because of two blocks that do the same work only one is dispensable.
            felt = {path: _without(shallow, path, images, wanted) for path in remaining}
            path = min(felt, key=lambda name: felt[name])
            _drop(shallow, path)
            dropped[path] = felt[path]
            left = count_macs(shallow, sample)
            bar.advance(1, f"{left / original:.2f} of the multiply-adds")
    if left > macs * original:
        return eval_copy(model), PassRecord.refused(
            f"{macs:g} of the multiply-adds cannot be reached, only {left / original:.3f}, by dropping all of its "
            f"{len(blocks)} blocks with equal input and output shapes"
        )
    done = {"macs_share": left / original, "blocks": len(blocks), "dropped": dropped}
    kept = tuple(Declined(path, "the target was reached without it") for path in blocks if path not in dropped)
    record = PassRecord(done, kept)
    if refit_samples:
        record = reconstructed(record, eval_copy(model), shallow, Changes(), context, refit_samples)
    return shallow, record


def find_blocks(model: nn.Module, sample: torch.Tensor) -> list[str]:
    """Return the paths of composite parts of sequences that map one tensor to another of the same shape."""
    fitting: dict[str, bool] = {}

    def note(path: str) -> ForwardHook:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            single = len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor)
            same = single and inputs[0].shape == output.shape  # type: ignore[attr-defined]
            fitting[path] = bool(same) and path not in fitting  # a module that runs twice is not a block

        return hook

    with attach_hooks((model.get_submodule(path), note(path)) for path in _candidates(model)), torch.no_grad():
        model(sample)
    return [path for path in _candidates(model) if fitting.get(path)]


def _candidates(model: nn.Module) -> Iterator[str]:
    """Yield the outermost parts of sequences that have parts themselves and are not sequences."""
    sequences = (nn.Sequential, nn.ModuleList)
    taken: list[str] = []
    for path, module in model.named_modules():
        parent = model.get_submodule(path.rpartition(".")[0])
        inside = any(path.startswith(f"{other}.") for other in taken)
        composed = any(True for _ in module.children()) and not isinstance(module, sequences)
        if path and composed and not inside and isinstance(parent, sequences):
            taken.append(path)
            yield path


def _drop(model: nn.Module, path: str) -> nn.Module:
    """Replace a block by an identity, and return the block."""
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    block = getattr(owner, name)
    setattr(owner, name, nn.Identity())
    return block  # type: ignore[no-any-return]


def _without(model: nn.Module, path: str, images: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the divergence of the outputs without a block from those of the whole model."""
    block = _drop(model, path)
    found = _log_shares(model, images)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, block)
    return float(F.kl_div(found, wanted, reduction="batchmean", log_target=True))


def _log_shares(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(64)]).log_softmax(1)
