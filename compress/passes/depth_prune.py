"""Depth pruning: whole blocks whose absence is felt least are dropped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress.core.context import PassContext
from compress.core.model_stats import count_macs
from compress.core.pass_protocol import Declined, PassRecord, TorchPass

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compress.core.forward_hooks import ForwardHook


class DepthPrune(TorchPass):
    """Drop blocks of a network, one after the other, until the multiply-adds fall to a target.

    A block is a part of a sequence that gives what it takes in shape: a residual block, an encoder layer of a
    transformer. In each round every block that is left is taken out for a trial, and the one goes without which the
    outputs on calibration samples change least (Kullback-Leibler divergence from those of the model as it came).
    Depth costs latency even where it costs few multiply-adds, so what is dropped here is felt on every device.

    Papers: Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks",
    NeurIPS 2016 (arXiv 1605.06431) for why it works; Men et al., "ShortGPT", 2024 (arXiv 2403.03853) for transformers.

    When not to use it: without training afterwards (put `distill` behind it), on networks without residual
    connections or with few blocks a stage (declined where too few are left to reach the target), or before a pass
    that would rather have the block narrow (`structured_prune` keeps accuracy better down to about half).
    """

    name: ClassVar[str] = "depth_prune"
    version: ClassVar[int] = 1

    macs: float = Field(0.75, gt=0, lt=1, description="Multiply-adds to be left, as a share of the original's.")
    samples: int = Field(128, ge=2, le=100_000, description="Calibration samples that a block's absence is judged on.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that can't be brought to the target comes back unchanged, declined.

        Raises:
            UsageError: there are test samples only.
        """
        sample = context.sample(1)
        shallow = copy.deepcopy(model).cpu().eval()
        original = count_macs(context.teacher or model, sample)
        if (left := count_macs(shallow, sample)) <= self.macs * original:
            return shallow, PassRecord.refused(f"it has {left / original:.3f} of the original's multiply-adds already")
        blocks = find_blocks(shallow, sample)
        pictures = context.sample(self.samples)
        wanted = _log_shares(shallow, pictures)
        dropped: dict[str, float] = {}
        with context.progress.task("Dropping blocks", total=len(blocks)) as bar:
            while left > self.macs * original and len(dropped) < len(blocks):
                remaining = [path for path in blocks if path not in dropped]
                felt = {path: _without(shallow, path, pictures, wanted) for path in remaining}
                path = min(felt, key=lambda name: felt[name])
                _drop(shallow, path)
                dropped[path] = felt[path]
                left = count_macs(shallow, sample)
                bar.advance(1, f"{left / original:.2f} of the multiply-adds")
        if left > self.macs * original:
            return copy.deepcopy(model).cpu().eval(), PassRecord.refused(
                f"{self.macs:g} of the multiply-adds can't be reached, only {left / original:.3f}, by dropping all of "
                f"its {len(blocks)} blocks that give what they take in shape"
            )
        done = {"macs_share": left / original, "blocks": len(blocks), "dropped": dropped}
        kept = tuple(Declined(path, "the target was reached without it") for path in blocks if path not in dropped)
        return shallow, PassRecord(done, kept)


def find_blocks(model: nn.Module, sample: torch.Tensor) -> list[str]:
    """Paths of the parts of sequences that have parts of their own and give one tensor of the shape that they take."""
    import torch

    from compress.core.forward_hooks import attach_hooks

    fitting: dict[str, bool] = {}

    def note(path: str) -> ForwardHook:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            one = len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor)
            same = one and inputs[0].shape == output.shape  # type: ignore[attr-defined]
            fitting[path] = bool(same) and path not in fitting  # what runs twice is no block

        return hook

    with attach_hooks((model.get_submodule(path), note(path)) for path in _candidates(model)), torch.no_grad():
        model(sample)
    return [path for path in _candidates(model) if fitting.get(path)]


def _candidates(model: nn.Module) -> Iterator[str]:
    """Parts of sequences that have parts themselves, the outermost that are no sequences."""
    from torch import nn

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
    """Put an identity in a block's place; what stood there."""
    from torch import nn

    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    block = getattr(owner, name)
    setattr(owner, name, nn.Identity())
    return block  # type: ignore[no-any-return]


def _without(model: nn.Module, path: str, pictures: torch.Tensor, wanted: torch.Tensor) -> float:
    """Divergence of the outputs without a block from those of the whole model."""
    from torch.nn import functional

    block = _drop(model, path)
    found = _log_shares(model, pictures)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, block)
    return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True))


def _log_shares(model: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.no_grad():
        return torch.cat([model(part) for part in pictures.split(64)]).log_softmax(1)
