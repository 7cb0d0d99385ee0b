"""Plain copies of a user's module for passes: without wrappers, in float32, with plain tensors as weights."""

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
"""Hooks that compute a weight before each forward pass, and leave it as a tensor that cannot be copied."""

UNWRITABLE = frozenset('"\n\r\0')
"""Characters that torch.fx 2 does not escape in the name of a module, so that its code ends in a SyntaxError."""


def plain_copy(module: nn.Module) -> nn.Module:
    """Return a plain copy of a user's module, which is not modified.

    Raises:
        ModelError: it cannot be copied, or is of a kind that passes cannot modify.
    """
    module = _without_wrapper(module)
    _refuse_unknown(module)
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, HOOKED):  # the current weight, without the gradient history that prevents a copy
                name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
                setattr(part, name, getattr(part, name).detach())
    try:
        return plain(copy.deepcopy(module))
    except MODEL_FAILURES as error:
        raise ModelError(
            f"The module {type(module).__qualname__} cannot be copied ({describe_error(error)}); give one that "
            "supports copy.deepcopy, on a device that holds its weights."
        ) from error


def plain(module: nn.Module, *, folded: bool = True) -> nn.Module:
    """Unwrap a module and move it to the CPU, in float32 and evaluation mode.

    Args:
        module: modified in place.
        folded: whether to replace weights that are computed in each forward pass by their values.

    Raises:
        ModelError: it is of a kind that passes cannot modify.
    """
    module = _without_wrapper(module)
    _refuse_unknown(module)
    _unwrap_parts(module)
    module.cpu().float().eval()
    if folded:
        fold_weights(module)
    return module


def fold_weights(module: nn.Module) -> None:
    """Replace weight norms, spectral norms, other parametrizations and masks by the resulting weights, in place.

    The outputs in evaluation mode do not change.
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
            # torch.nn.utils.parametrize gives each parametrized module its own subclass of its former class.
            part.__class__ = kind
            for name, weight in weights.items():
                part.register_parameter(name, nn.Parameter(weight.detach().clone(), weight.requires_grad))


def _without_wrapper(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of torch.compile and data-parallel training."""
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
        if set(path) & UNWRITABLE:
            raise ModelError(
                f"The model's part {path!r} has a double quote, a line break or a NUL in its name, which torch's "
                "exporter cannot write into code; rename it."
            )
        where = f"Part '{path}' of the model" if path else "The model"
        if isinstance(part, torch.jit.ScriptModule):
            raise ModelError(f"{where} is TorchScript, which passes cannot modify; give the nn.Module behind it.")
        if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():  # type: ignore[misc]
            raise ModelError(f"{where} is a lazy module without a shape; run it on one input first.")
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"The model's '{name}' is a {type(value).__name__}, not a tensor, as in quantized modules; give the "
                "model before quantization."
            )
