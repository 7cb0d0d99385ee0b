"""Forward passes on two samples before any work: checks that the model runs on the data, and that it classifies."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from certify.core.callables import FOREIGN_FAILURES
from certify.core.errors import ModelError
from compress.core.foreign_code import describe_error
from compress.core.samples import as_tensor

COUPLED = 1e-3
"""Difference between a sample's outputs alone and in a batch, as a share of the largest, that is not rounding."""


def probe(model: nn.Module, samples: npt.NDArray[Any], name: str) -> int:
    """Return the number of outputs of a classifier.

    Args:
        model: module in evaluation mode; not modified.
        samples: (2, ...) from the preprocessing contract.
        name: name of the model, for errors.

    Raises:
        ModelError: it does not run on the samples, or does not return finite logits (n, classes), each row a function
            of its own sample; the error says what was found.
    """
    both = as_tensor(samples)
    # Try one sample and two, because squeeze() and view() often fix the batch that their author used.
    alone, beside = _logits(model, both[:1], name), _logits(model, both, name)
    if alone.ndim == 1 and beside.ndim == 2:
        raise ModelError(
            f"{name} drops the batch dimension of a single sample: it returns {tuple(alone.shape)} for one sample and "
            f"{tuple(beside.shape)} for two; name the dimensions that its squeeze() removes."
        )
    for outputs, count in ((alone, 1), (beside, 2)):
        if outputs.ndim != 2 or len(outputs) != count or not outputs.shape[1]:
            raise ModelError(
                f"{name} returns {tuple(outputs.shape)} for {count} sample(s), but a classifier must return ({count}, "
                "classes) for any batch; give a model that ends in one logit per class."
            )
    if not bool(torch.isfinite(beside).all()):
        raise ModelError(f"{name} returns outputs that are not finite (NaN or infinite); check its weights.")
    largest = float(beside.abs().max())
    if float((alone - beside[:1]).abs().max()) > COUPLED * largest:
        before, sample = both[:1].clone(), both[:1].clone()
        again = _logits(model, sample, name)
        if not torch.equal(sample, before):
            raise ModelError(f"{name} changes its input in place; copy it first in forward (x = x.clone()).")
        # Random outputs differ too, but need another remedy.
        by_chance = float((alone - again).abs().max()) > COUPLED * largest
        raise ModelError(f"{name} {_why_coupled(model, by_chance)}, so no exported file can agree with it.")
    return beside.shape[1]


def _logits(model: nn.Module, samples: torch.Tensor, name: str) -> torch.Tensor:
    try:
        with torch.no_grad():
            outputs = model(samples)
    except FOREIGN_FAILURES as error:
        raise ModelError(_why_failed(model, samples, name, error)) from error
    if not isinstance(outputs, torch.Tensor):
        raise ModelError(
            f"{name} returns {_describe(outputs)}, but a classifier must return one tensor of logits (n, classes); "
            "wrap it so that forward returns only the logits."
        )
    if not outputs.is_floating_point():
        raise ModelError(f"{name} returns {outputs.dtype}, but a classifier must return logits in floating point.")
    if outputs.dtype is torch.bfloat16:
        raise ModelError(f"{name} returns torch.bfloat16, which no exported file can; end its forward with .float().")
    return outputs.float()


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} ({', '.join(map(str, value))})"
    return f"a {type(value).__name__}{f' of {len(value)}' if isinstance(value, tuple | list) else ''}"


def _why_failed(model: nn.Module, samples: torch.Tensor, name: str, error: BaseException) -> str:
    """Explain a failed forward pass in one sentence, from the number of inputs and the failing layer."""
    needed = _needed(model)
    if len(needed) > 1:
        inputs = f"{len(needed)} inputs ({', '.join(needed)})"
        return f"{name} takes {inputs}, but a classifier takes one; wrap it in a module whose forward takes one."
    if needed and inspect.signature(model.forward).parameters[needed[0]].kind is inspect.Parameter.KEYWORD_ONLY:
        return f"{name} takes {needed[0]} by keyword only; wrap it in a module whose forward takes it by position."
    shape = " x ".join(map(str, samples.shape[1:]))
    path, layer, layer_input = _last_layer(model, samples)
    if layer_input is not None:
        of_channels = hasattr(layer, "in_channels")
        takes = getattr(layer, "in_channels" if of_channels else "in_features", None)
        what, gets = ("channel", layer_input.shape[1]) if of_channels else ("feature", layer_input.shape[-1])
        if takes not in (None, gets):
            given = f"{takes} {what}{'s' if takes != 1 else ''}"
            if of_channels and layer_input.shape == samples.shape and samples.shape[-1] == takes:
                return (
                    f"{name} does not take samples of {shape}: its layer '{path}' takes {given}, which are "
                    "last in the samples; put them first (in NumPy: x = np.moveaxis(x, -1, 1))."
                )
            fitting = "colour (L for grey)" if of_channels and gets == samples.shape[1] else "size and layout"
            return (
                f"{name} does not take samples of {shape}: its layer '{path}' takes {given} and gets {gets}; "
                f"give a preprocessing contract with the {fitting} that it was trained with, or adapt it to the data."
            )
    return f"{name} fails on a sample of {shape}, {samples.dtype} ({describe_with_place(error)}); adapt it to the data."


def describe_with_place(error: BaseException) -> str:
    """Return an error in one line, with the file and line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{describe_error(error)}, {Path(last.filename).name}:{last.lineno}"


def _needed(model: nn.Module) -> list[str]:
    """Return the names of the required inputs of forward."""
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in free]


def _last_layer(model: nn.Module, samples: torch.Tensor) -> tuple[str, nn.Module | None, torch.Tensor | None]:
    """Return the last layer that a failing forward pass reaches, and its input."""
    last: tuple[str, nn.Module | None, torch.Tensor | None] = ("", None, None)

    def note(path: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal last
            if inputs and isinstance(inputs[0], torch.Tensor):
                last = (path, module, inputs[0])

        return hook

    with contextlib.ExitStack() as hooks, contextlib.suppress(*FOREIGN_FAILURES), torch.no_grad():
        for path, module in model.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(note(path)))
        model(samples)
    return last


def _why_coupled(model: nn.Module, by_chance: bool) -> str:
    if by_chance:
        return "gives different outputs each time for the same sample, even in evaluation mode"
    for path, norm in model.named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is None:
            return f"has a batch norm without running statistics, '{path}': outputs depend on the rest of the batch"
    return "gives outputs for a sample that depend on the rest of the batch"
