"""Models of several inputs, which are fed with one tensor here as all others are."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.data import ArrayPreprocess, Dataset, as_given
from certify.data.named_arrays import ONLY


class Unpacking:
    """A hook before a model's forward that takes the bytes of records apart, one tensor an input.

    A call with one tensor for each input, as the exporters make it, passes as it is.

    Args:
        contract: names, shapes and types of the inputs.
    """

    def __init__(self, contract: ArrayPreprocess) -> None:
        self._shapes, self._dtypes = contract.shapes, [getattr(torch, name) for name in contract.dtypes]
        sizes = [
            int(np.prod(shape, dtype=int)) * kind.itemsize
            for shape, kind in zip(self._shapes, self._dtypes, strict=True)
        ]
        self._ends = np.cumsum(sizes).tolist()
        self._starts = [end - size for end, size in zip(self._ends, sizes, strict=True)]

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The tensors of all inputs, each (n, ...)."""
        if len(inputs) > 1:
            return inputs
        (packed,) = inputs
        return tuple(
            packed[:, start:end].clone(memory_format=torch.contiguous_format).view(kind).reshape(-1, *shape)
            for start, end, kind, shape in zip(self._starts, self._ends, self._dtypes, self._shapes, strict=True)
        )


def contract_for(model: nn.Module, dataset: Dataset) -> ArrayPreprocess:
    """The contract that feeds the arrays of a data set to a torch module as they are.

    Args:
        model: of one input for data of one array; otherwise its inputs are called as the arrays are. Arrays without
            names of their own are given in their order.
        dataset: of arrays.

    Raises:
        ModelError: the module takes other inputs.
    """
    fields = dataset.test.fields
    contract = as_given(dataset)
    if len(fields) == 1:
        return contract
    taken = inspect.signature(model.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in taken.values()) or _unnamed(fields, len(taken)):
        return contract
    names = [name for name in taken if name in fields]
    if len(names) < len(fields) or names != list(taken)[: len(names)]:
        raise ModelError(
            f"The model takes {', '.join(taken)} and data '{dataset.name}' hold {', '.join(fields)}; name the arrays "
            "as the first parameters of forward."
        )
    return as_given(dataset, {name: contract.port(name)[1] for name in names})


def fed_by(model: nn.Module, contract: Any) -> nn.Module:
    """The model, ready to be fed with what a contract makes; changed in place where it has several inputs."""
    if isinstance(contract, ArrayPreprocess) and len(contract.inputs) > 1:
        model.register_forward_pre_hook(Unpacking(contract))
    return model


def _unnamed(fields: Sequence[str] | Any, inputs: int) -> bool:
    return len(fields) == inputs and list(fields) == [f"{ONLY}{number}" for number in range(inputs)]
