"""Gradients of single records by Opacus, and a check against a loop over single records."""

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
    """Return Opacus' wrapper for per-sample gradients.

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
    """Yield the model with per-sample gradients, which are removed afterwards.

    Raises:
        MissingExtra: Opacus is not installed.
        UsageError: a layer mixes samples, or Opacus cannot separate the gradients of its samples.
    """
    require_separate_samples(model)
    wrapper, validator = opacus()
    if wrong := validator.validate(model, strict=False):
        message = " ".join(str(wrong[0]).split())[:200]
        raise UsageError(f"dp_finetune cannot separate the samples of a layer ({message}); train a head with dp_head.")
    logging.getLogger("opacus").setLevel(logging.ERROR)
    # The loss in `gradients` is a sum; for a mean, Opacus would multiply each gradient by the batch size.
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
    """Return the trainable parameters, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients(wrapped: Any, samples: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the gradient of cross-entropy for each sample, (n, trainable values)."""
    for parameter in trained(wrapped):
        parameter.grad, parameter.grad_sample = None, None  # type: ignore[attr-defined]
    functional.cross_entropy(wrapped(samples), labels, reduction="sum").backward()
    flat = [_of(parameter, len(labels)) for parameter in trained(wrapped)]
    return torch.cat(flat, dim=1)


def _of(parameter: Any, count: int) -> torch.Tensor:
    found = parameter.grad_sample
    # A missing block of columns would shift all the others.
    if found is None:  # no sample uses it
        return torch.zeros(count, parameter.numel(), device=parameter.device)
    # A layer that is used several times has one gradient per use; the sample's is their sum.
    whole = torch.stack(found).sum(0) if isinstance(found, list) else found
    return whole.reshape(count, -1)  # type: ignore[no-any-return]


def clipped(gradient: torch.Tensor, clip: float) -> torch.Tensor:
    """Return the sum of gradients, (n, values), each clipped to a norm: (values,)."""
    # Gradients below the norm are not scaled up: that would amplify outliers without any gain in privacy.
    scale = (clip / gradient.norm(dim=1).clamp_min(1e-12)).clamp_max(1.0)
    return scale @ gradient  # type: ignore[no-any-return]


def gradient_error(model: nn.Module, samples: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the largest relative difference of per-sample gradients from those of a loop over single samples.

    Args:
        model: model in its training mode, on the CPU.
        samples: synthetic samples, (n, ...); no private record is used.
        labels: synthetic labels, (n,).

    Returns:
        The largest ratio over all samples of the norm of the difference to the norm of the loop's gradient.
    """
    # The probe must not move the generators that the training uses afterwards.
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
    """Disable dropout during the comparison, because a loop draws different masks than a batch."""
    dropped = [(m, m.p) for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    for module, _ in dropped:
        module.p = 0.0
    try:
        yield
    finally:
        for module, share in dropped:
            module.p = share
