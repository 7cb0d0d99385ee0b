"""The layers of a program that least squares can refit: their inputs and targets.

A layer is refitted to the values of the original network at its own output, or, if its output is added to a shortcut,
to the original's sum less the pruned network's shortcut, so that it also compensates for what was lost on the shortcut.
Between the layer and that sum only exactly invertible operators are allowed: a batch norm, a scale or shift that does
not depend on the samples, and reordering or reshaping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.fx import Node

from compress.pruning.program import CONVOLUTIONS, NORM, Program, ancestors

aten = torch.ops.aten
Undo = Callable[[torch.Tensor], torch.Tensor]

SAME = frozenset(
    {aten.clone.default, aten.contiguous.default, aten.dropout.default, aten.alias.default, aten.detach.default}
)
SHAPES = frozenset(
    {
        aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints,
        aten.unflatten.int, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.default, aten.squeeze.dims,
    }
)  # fmt: skip
SUMS = frozenset({aten.add.Tensor})


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer.

    Attributes:
        node: node that runs it.
        weight: name of its weight.
        bias: name of its bias, or None.
        groups: groups of a convolution.
        mean: name of the running mean of the batch norm that alone follows it, or None; without a bias, an offset of
            the layer's output is subtracted from it.
    """

    node: Node
    weight: str
    bias: str | None
    groups: int
    mean: str | None

    @property
    def path(self) -> str:
        """Path of its module."""
        return self.weight.rpartition(".")[0]

    @property
    def is_convolution(self) -> bool:
        """Whether channels are in dimension 1, not in the last."""
        return self.node.target in CONVOLUTIONS

    @property
    def input(self) -> Node:
        """Node of its input."""
        node = self.node.args[0]
        assert isinstance(node, Node)
        return node


def find_layers(program: Program) -> list[Layer]:
    """Return the layers of a program, in the order in which they run, whose weights no other operator reads."""
    return [layer for node in program.nodes if node in program.varying and (layer := _layer(program, node)) is not None]


def _layer(program: Program, node: Node) -> Layer | None:
    if node.target not in CONVOLUTIONS and node.target is not aten.linear.default:
        return None
    args: Any = node.args
    weight, bias = args[1], args[2] if len(args) > 2 else None
    # A weight that two operators read (tied embeddings) cannot be fitted to one of them.
    if not isinstance(weight, Node) or weight not in program.tensors or len(weight.users) > 1:
        return None
    if bias is not None and (bias not in program.tensors or len(bias.users) > 1):
        return None
    groups = args[6] if node.target in CONVOLUTIONS and len(args) > 6 else 1
    name = None if bias is None else program.tensors[bias]
    return Layer(node, program.tensors[weight], name, int(groups), _mean(program, node))


def _mean(program: Program, node: Node) -> str | None:
    users = list(node.users)
    if len(users) != 1 or users[0].target is not NORM:
        return None
    mean: Any = users[0].args[3]
    return program.tensors.get(mean) if len(mean.users) == 1 else None


@dataclass(frozen=True)
class Sum:
    """The addition after a layer.

    Attributes:
        node: node that adds.
        shortcut: node that is added to the layer's output.
        undo: functions from values there to values at the layer's output, last operator first.
        channels: dimension of the layer's channels there, or None if it is ambiguous.
    """

    node: Node
    shortcut: Node
    undo: tuple[Undo, ...]
    channels: int | None

    def back(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values at the layer's output for values at the sum."""
        for step in self.undo:
            values = step(values)
        return values

    def scales(self, layer: Layer) -> npt.NDArray[np.float64]:
        """Return the weight of each of the layer's outputs at the sum, (outputs,)."""
        # All steps are affine: the difference of two results is their linear part.
        shape = self.node.meta["val"].shape
        undone = self.back(torch.ones(shape)) - self.back(torch.zeros(shape))
        channels = undone.movedim(1 if layer.is_convolution else -1, 0).flatten(1)[:, 0]
        return 1 / channels.double().numpy()


def find_sum(program: Program, layer: Layer) -> Sum | None:
    """Return the addition of a shortcut after a layer, or None if there is none that can be inverted."""
    undo: list[Undo] = []
    node, channels = layer.node, 1 if layer.is_convolution else layer.node.meta["val"].ndim - 1
    while len(node.users) == 1:
        (user,) = node.users
        if user.target in SUMS and not user.kwargs and (other := _other(user, node)) in program.varying:
            fits = other.meta["val"].shape == node.meta["val"].shape
            # A broadcast shortcut, or one computed from the layer itself, leaves no target for the layer alone.
            if not fits or layer.node in ancestors([other], ()):
                return None
            return Sum(user, other, tuple(reversed(undo)), channels)
        step = _undone(program, user, node)
        if step is None:
            return None
        undo.append(step)
        channels = _moved(user, channels)
        node = user
    return None


def _arguments(node: Node) -> Any:
    """Return the arguments of an operator."""
    return node.args


def _other(user: Node, node: Node) -> Any:
    """Return the other of an operator's two inputs."""
    return user.args[1] if user.args[0] is node else user.args[0]


def _undone(program: Program, user: Node, node: Node) -> Undo | None:
    """Return the inverse of an operator on a layer's output, or None if there is no exact one."""
    shape, args = node.meta["val"], _arguments(user)
    if user.target in SAME or (user.target is aten.dropout.default and args[2] is False):
        return lambda values: values
    # The batch norm operator returns its output and saved statistics.
    if getattr(user.target, "__name__", "") == "getitem":
        return (lambda values: values) if args[1] == 0 else None
    if user.target is NORM:
        return lambda values: _unnormalized(program, user, values)
    if user.target in SHAPES:
        return lambda values: values.reshape(shape.shape)
    if user.target is aten.permute.default:
        back = torch.argsort(torch.tensor([dim % shape.ndim for dim in args[1]])).tolist()
        return lambda values: values.permute(back)
    if user.target is aten.transpose.int:
        return lambda values: values.transpose(*args[1:])
    if user.target is aten.roll.default:
        shifts = [-shift for shift in args[1]]
        return lambda values: values.roll(shifts, *args[2:])
    return _unscaled(program, user, node)


def _unscaled(program: Program, user: Node, node: Node) -> Undo | None:
    """Return the inverse of a factor or shift that does not depend on the samples."""
    args = _arguments(user)
    if user.target not in (aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor) or user.kwargs:
        return None
    # x * x is not a scale, and a broadcast cannot be undone by one.
    if args[0] is args[1] or user.meta["val"].shape != node.meta["val"].shape:
        return None
    other, first = _other(user, node), args[0] is node
    if other in program.varying or (not first and user.target in (aten.div.Tensor, aten.sub.Tensor)):
        return None

    def undo(values: torch.Tensor) -> torch.Tensor:
        constant = program.constant(other) if isinstance(other, Node) else torch.tensor(float(other))
        if user.target is aten.add.Tensor:
            return values - constant
        if user.target is aten.sub.Tensor:
            return values + constant
        if user.target is aten.div.Tensor:
            return values * constant
        return values / _nonzero(constant)

    return undo


def _unnormalized(program: Program, norm: Node, values: torch.Tensor) -> torch.Tensor:
    """Return the input of a batch norm from its output."""
    tensors: list[Any] = [None if each is None else program.constant(each) for each in _arguments(norm)[1:5]]
    weight, bias, mean, variance = tensors
    scale = (variance + _arguments(norm)[6]).rsqrt() * (1 if weight is None else weight)
    shape = [1, -1] + [1] * (values.ndim - 2)
    shift = 0 if bias is None else bias.view(shape)
    undone: torch.Tensor = (values - shift) / _nonzero(scale).view(shape) + mean.view(shape)
    return undone


def _nonzero(scale: torch.Tensor) -> torch.Tensor:
    """Replace zeros in a factor before division; a zero factor hides its input, whatever that is."""
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def _moved(user: Node, channels: int | None) -> int | None:
    """Return the dimension of the channels after an operator."""
    if channels is None:
        return None
    if user.target is aten.permute.default:
        order = [dim % len(_arguments(user)[1]) for dim in _arguments(user)[1]]
        return order.index(channels)
    if user.target is aten.transpose.int:
        ends = [dim % user.meta["val"].ndim for dim in _arguments(user)[1:]]
        return sum(ends) - channels if channels in ends else channels
    if user.target in SHAPES:
        before, after = _arguments(user)[0].meta["val"].shape, user.meta["val"].shape
        # A reshape keeps the channels' place if it leaves them last, or changes nothing up to and including them.
        if channels == len(before) - 1 and before[-1] == after[-1]:
            return len(after) - 1
        return channels if before[: channels + 1] == after[: channels + 1] else None
    return channels
