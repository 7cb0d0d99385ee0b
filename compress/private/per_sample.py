"""Gradients of single records by Opacus, and the proof that they are those of a loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from certify.core.errors import MissingExtra, UsageError
from compress.private.norms import require_separate_samples

PROBED = 8


def opacus() -> Any:
    """Opacus' gradients by sample.

    Raises:
        MissingExtra: Opacus is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from opacus import grad_sample, validators
    except ImportError as error:
        raise MissingExtra("dp_finetune", "privacy") from error
    return grad_sample.GradSampleModule, validators.ModuleValidator


@contextmanager
def watched(model: nn.Module) -> Iterator[Any]:
    """The model with gradients by sample, which it loses again.

    Raises:
        MissingExtra: Opacus is not installed.
        UsageError: a layer mixes samples, or Opacus cannot tell the gradients of its samples apart.
    """
    require_separate_samples(model)
    wrapper, validator = opacus()
    if wrong := validator.validate(model, strict=False):
        told = " ".join(str(wrong[0]).split())[:200]
        raise UsageError(f"dp_finetune cannot tell the samples of a layer apart ({told}); train a head with dp_head.")
    logging.getLogger("opacus").setLevel(logging.ERROR)
    wrapped = wrapper(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():  # the samples themselves need no gradient
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            yield wrapped
    finally:
        wrapped.remove_hooks()
        for parameter in model.parameters():
            parameter.grad = None
            for name in ("grad_sample", "summed_grad", "_forward_counter"):
                if hasattr(parameter, name):
                    delattr(parameter, name)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that learn, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients(wrapped: Any, samples: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gradients of cross-entropy for each sample, (n, numbers that learn)."""
    for parameter in trained(wrapped):
        parameter.grad, parameter.grad_sample = None, None  # type: ignore[attr-defined]
    functional.cross_entropy(wrapped(samples), labels, reduction="sum").backward()
    flat = [_of(parameter, len(labels)) for parameter in trained(wrapped)]
    return torch.cat(flat, dim=1)


def _of(parameter: Any, count: int) -> torch.Tensor:
    found = parameter.grad_sample
    if found is None:  # no sample reaches it
        return torch.zeros(count, parameter.numel(), device=parameter.device)
    whole = torch.stack(found).sum(0) if isinstance(found, list) else found
    return whole.reshape(count, -1)  # type: ignore[no-any-return]


def clipped(gradient: torch.Tensor, clip: float) -> torch.Tensor:
    """Sum of gradients, (n, numbers), each clipped to a norm, (numbers,)."""
    scale = (clip / gradient.norm(dim=1).clamp_min(1e-12)).clamp_max(1.0)
    return scale @ gradient  # type: ignore[no-any-return]


def gradient_error(model: nn.Module, samples: torch.Tensor, labels: torch.Tensor) -> float:
    """Largest relative difference of gradients by sample from those of a loop over single samples.

    Args:
        model: in the mode that it trains in, on the CPU.
        samples: made-up ones, (n, ...); no private record is looked at.
        labels: likewise, (n,).

    Returns:
        Of the norms: the largest over samples of the norm of the difference over that of the loop's gradient.
    """
    with torch.random.fork_rng(devices=[]), _without_dropout(model):
        with watched(model) as wrapped:
            fast = gradients(wrapped, samples, labels).clone()
        worst = 0.0
        for index in range(len(labels)):
            loss = functional.cross_entropy(model(samples[index : index + 1]), labels[index : index + 1])
            found = torch.autograd.grad(loss, trained(model), allow_unused=True)
            parts = zip(found, trained(model), strict=True)
            slow = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in parts])
            difference = float((fast[index] - slow).norm()) / max(float(slow.norm()), 1e-12)
            worst = max(worst, difference)
    return worst


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """A loop draws other dropout than a batch, so there is none while the two are compared."""
    dropped = [(m, m.p) for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    for module, _ in dropped:
        module.p = 0.0
    try:
        yield
    finally:
        for module, share in dropped:
            module.p = share
