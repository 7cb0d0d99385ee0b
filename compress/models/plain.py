"""A user's module as every pass can work on it: without wrappers, in float32, with weights that are plain tensors."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from certify.core.errors import ModelError
from compress.core.foreign_code import MODEL_FAILURES, describe_error

HOOKED = (prune.BasePruningMethod, SpectralNorm, WeightNorm)
"""Hooks that compute a weight before each forward pass, and leave it as a tensor that can't be copied."""


def plain_copy(module: nn.Module) -> nn.Module:
    """A plain copy of a user's module, which is left as it is.

    Raises:
        ModelError: it can't be copied, or is of a kind that passes can't take apart.
    """
    module = _without_wrapper(module)
    _refuse_unknown(module)
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, HOOKED):  # the weight as it is, without the history of gradients that forbids a copy
                name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
                setattr(part, name, getattr(part, name).detach())
    try:
        return plain(copy.deepcopy(module))
    except MODEL_FAILURES as error:
        raise ModelError(
            f"The module {type(module).__qualname__} can't be copied ({describe_error(error)}); give one that "
            "copy.deepcopy takes, on a device that holds its weights."
        ) from error


def plain(module: nn.Module, *, folded: bool = True) -> nn.Module:
    """Take a module out of its wrappers, on the CPU, in float32 and evaluation mode.

    Args:
        module: changed in place.
        folded: whether to replace weights that are computed in each forward pass by what they come to.

    Raises:
        ModelError: it is of a kind that passes can't take apart.
    """
    module = _without_wrapper(module)
    _refuse_unknown(module)
    _unwrap_parts(module)
    module.cpu().float().eval()
    if folded:
        fold_weights(module)
    return module


def fold_weights(module: nn.Module) -> None:
    """Replace weight norms, spectral norms, other parametrizations and masks by the weights that they give, in place.

    In evaluation mode the outputs stay as they are.
    """
    for part in list(module.modules()):
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(part, hook._tensor_name)
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
        if parametrize.is_parametrized(part):
            # not remove_parametrizations: it takes the weight from the class, which the user's own module shares
            names = [name for name, _ in part.parametrizations.named_children()]  # type: ignore[union-attr, operator]
            weights, kind = {name: getattr(part, name) for name in names}, type(part).__bases__[0]
            del part.parametrizations
            part.__class__ = kind
            for name, weight in weights.items():
                part.register_parameter(name, nn.Parameter(weight.detach().clone(), weight.requires_grad))


def _without_wrapper(module: nn.Module) -> nn.Module:
    """The module inside what torch.compile and data-parallel training put around it."""
    while True:
        if "_orig_mod" in module._modules:
            inner = module._orig_mod
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        else:
            return module
        assert isinstance(inner, nn.Module)
        module = inner


def _unwrap_parts(module: nn.Module) -> None:
    if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
        del module.forward
    module._compiled_call_impl = None
    for name, part in module._modules.items():
        if part is not None:
            module._modules[name] = inner = _without_wrapper(part)
            _unwrap_parts(inner)


def _refuse_unknown(module: nn.Module) -> None:
    for path, part in module.named_modules():
        where = f"Part '{path}' of the model" if path else "The model"
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(f"{where} is TorchScript, which passes can't take apart; give the nn.Module it came from.")
        if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():  # type: ignore[misc]
            raise ModelError(f"{where} gets its shape from the first input (a lazy module); run it on one input first.")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"The model's '{name}' is a {type(value).__name__} and not a tensor, as in quantized modules; give the "
                "model before it was quantized."
            )
