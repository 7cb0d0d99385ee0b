"""Batch norms and privacy: layers that mix samples, and folding of norms without changing the network.

In train mode a batch norm mixes the samples of a batch, so that no gradient belongs to a single sample, and writes
their statistics into the model without noise, even if its weights are frozen. Group norms in its place would give a
different network. A batch norm that is folded into the preceding layer, or kept as a fixed scale and shift per channel,
gives the same network.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from certify.core.errors import ModelError, UsageError
from compress.core.samples import as_tensor

TOLERANCE = 1e-4
"""Largest difference of the outputs after folding, relative to the largest output."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def mixing_layers(model: nn.Module) -> list[str]:
    """Return the names of layers that mix samples, or keep statistics of them, in the model's current mode.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        >>> mixing_layers(net), mixing_layers(net.eval())
        (['1'], [])
    """

    def mixes(layer: nn.Module) -> bool:
        if isinstance(layer, _InstanceNorm):
            # Instance norms use one sample each, but running statistics are a release without noise.
            return layer.training and bool(layer.track_running_stats)
        # A batch norm without stored statistics uses those of the batch, even in eval mode.
        return isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)

    return [name or "model" for name, layer in model.named_modules() if mixes(layer)]


def require_separate_samples(model: nn.Module) -> None:
    """Reject a model that mixes samples in its current mode.

    Raises:
        UsageError: a layer mixes samples; the message names the first one.
    """
    if mixing := mixing_layers(model):
        raise UsageError(f"Layer {mixing[0]} mixes samples; put fold_norms before this pass.")


def fold(model: nn.Module) -> tuple[nn.Module, dict[str, str], dict[str, str]]:
    """Remove the batch norms from a copy of a model in eval mode.

    Args:
        model: model to copy; not modified.

    Returns:
        The copy, in eval mode; how each norm was removed, by its name; why others were not.
    """
    folded_model = copy.deepcopy(model).eval()
    folded: dict[str, str] = {}
    left: dict[str, str] = {}
    before = _layers_before(folded_model)
    for name, norm in list(folded_model.named_modules()):
        if not isinstance(norm, _BatchNorm):
            continue
        if norm.running_mean is None or norm.running_var is None:
            left[name] = "it keeps no statistics, so it mixes the samples of every batch"
            continue
        if (layer := before.get(name)) is not None:
            _put(folded_model, layer, _fused(folded_model.get_submodule(layer), norm))
            _put(folded_model, name, nn.Identity())
            folded[name] = f"into {layer}"
        elif type(norm) is nn.BatchNorm2d:
            _put(folded_model, name, _channelwise(norm))
            folded[name] = "into a scale and a shift per channel"
        else:
            left[name] = f"no convolution or linear layer is read by this {type(norm).__name__} alone"
    return folded_model.eval(), folded, left


def fold_exactly(
    model: nn.Module, samples: npt.NDArray[np.float32]
) -> tuple[nn.Module, dict[str, str], dict[str, str], float]:
    """Fold the batch norms, and prove on samples that the outputs are the same.

    Returns:
        See :func:`fold`; and the largest difference of the outputs, relative to the largest output.

    Raises:
        ModelError: the outputs differ.
    """
    folded_model, folded, left = fold(model)
    if not folded:
        return folded_model, folded, left, 0.0
    inputs = as_tensor(samples)
    with torch.no_grad():
        before, after = model.eval()(inputs), folded_model(inputs)
    error = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
    # Negated, so that NaN fails too.
    if not error <= TOLERANCE:
        raise ModelError(f"After folding the norms the model's outputs differ by {error:.2g} of the largest.")
    return folded_model, folded, left, error


def _layers_before(model: nn.Module) -> dict[str, str]:
    """Return the layer that only a batch norm reads, by the norm's name; empty if the model cannot be traced."""
    try:
        graph = fx.Tracer().trace(model)
    # Code that depends on values cannot be traced; each norm then becomes a scale and a shift.
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return {}
    return dict(_pairs(model, graph))


def _pairs(model: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, str]]:
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(model.get_submodule(str(node.target)), _BatchNorm):
            continue
        source = node.args[0] if node.args else None
        # A second reader (a skip connection) would see the folded values.
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer = model.get_submodule(str(source.target))
        # A layer that is called twice has two places, and only one of them may have this norm after it.
        once = calls[str(node.target)] == calls[str(source.target)] == 1
        flat = isinstance(layer, nn.Linear) and isinstance(model.get_submodule(str(node.target)), nn.BatchNorm1d)
        plain = type(layer) in _CONVOLUTIONS or (flat and type(layer) is nn.Linear)
        if once and plain and _own_weights(model, layer):
            yield str(node.target), str(source.target)


def _own_weights(model: nn.Module, layer: nn.Module) -> bool:
    """Return whether no other layer shares the weight, which folding would also change."""
    weight: Any = layer.weight
    holders = [module for module in model.modules() if any(own is weight for own in module.parameters(recurse=False))]
    return len(holders) == 1


def _fused(layer: nn.Module, norm: Any) -> nn.Module:
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    fused: Any = copy.deepcopy(layer)
    numbers = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    fused.weight, fused.bias = fuse(fused.weight, fused.bias, *numbers)
    return fused  # type: ignore[no-any-return]


@torch.no_grad()
def _channelwise(norm: Any) -> nn.Conv2d:
    """Return a depthwise 1 x 1 convolution that computes the same as the norm."""
    channels = norm.num_features
    layer: Any = nn.Conv2d(channels, channels, 1, groups=channels)
    # In eval mode a norm is linear in each channel, so a depthwise convolution is exactly equal.
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1.0 if norm.weight is None else norm.weight)
    layer.weight.copy_(scale.reshape(layer.weight.shape))
    layer.bias.copy_((0.0 if norm.bias is None else norm.bias) - norm.running_mean * scale)
    return layer  # type: ignore[no-any-return]


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    parent = operator.attrgetter(owner)(model) if owner else model
    setattr(parent, last, layer)
