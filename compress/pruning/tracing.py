"""Making autograd follow every tensor of a model, by which torch-pruning finds dependencies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

NORMS = nn.modules.batchnorm._NormBase
"""Batch and instance norms, whose statistics torch-pruning removes along with their channels."""


@contextlib.contextmanager
def with_gradients(model: nn.Module) -> Iterator[None]:
    """Enable gradients of frozen parameters inside the ``with`` block; they are frozen again afterwards."""
    # By name, since pruning replaces parameters by new objects.
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        yield
    finally:
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)


def has_plain_buffers(model: nn.Module) -> bool:
    """Return whether the model has constants that may belong to channels, such as those of a frozen batch norm."""
    return any(True for _ in _plain_buffers(model))


@contextlib.contextmanager
def buffers_as_parameters(model: nn.Module) -> Iterator[None]:
    """Make constants of channels parameters inside the ``with`` block; they are buffers again afterwards."""
    found = list(_plain_buffers(model))
    lasting = [name not in module._non_persistent_buffers_set for module, name in found]
    for module, name in found:
        buffer = module._buffers.pop(name)
        assert buffer is not None
        module.register_parameter(name, nn.Parameter(buffer))
    try:
        yield
    finally:
        for (module, name), persistent in zip(found, lasting, strict=True):
            parameter = module._parameters.pop(name)
            assert parameter is not None
            module.register_buffer(name, parameter.detach(), persistent)


def _plain_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if not isinstance(module, NORMS) and isinstance(buffer, torch.Tensor) and buffer.is_floating_point():
                yield module, name
