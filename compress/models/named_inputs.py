"""Models with several inputs, which are fed with one tensor here like all others."""

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
    """Forward pre-hook that splits the bytes of records into one tensor per input.

    A call with one tensor per input, as exporters make it, passes through unchanged.

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
        """Return the tensors of all inputs, each (n, ...)."""
        if len(inputs) > 1:
            return inputs
        (packed,) = inputs
        return tuple(
            # Cloned, since view(dtype) needs contiguous memory at an aligned address.
            packed[:, start:end].clone(memory_format=torch.contiguous_format).view(kind).reshape(-1, *shape)
            for start, end, kind, shape in zip(self._starts, self._ends, self._dtypes, self._shapes, strict=True)
        )


def contract_for(model: nn.Module, dataset: Dataset) -> ArrayPreprocess:
    """Return the contract that feeds the arrays of a data set to a torch module unchanged.

    Args:
        model: module with one input for data with one array; otherwise its inputs have the names of the arrays. Arrays
            without names of their own are passed in order.
        dataset: data set of arrays.

    Raises:
        ModelError: the module takes other inputs.
    """
    fields = dataset.test.fields
    contract = as_given(dataset)
    if len(fields) == 1:
        return contract
    parameters = inspect.signature(model.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values()) or _unnamed(
        fields, len(parameters)
    ):
        return contract
    names = [name for name in parameters if name in fields]
    if len(names) < len(fields) or names != list(parameters)[: len(names)]:
        raise ModelError(
            f"The model takes {', '.join(parameters)}, but data '{dataset.name}' has {', '.join(fields)}; name the "
            "arrays after the first parameters of forward."
        )
    return as_given(dataset, {name: contract.port(name)[1] for name in names})


def fed_by(model: nn.Module, contract: Any) -> nn.Module:
    """Prepare a model for the samples of a contract; it is modified in place if it has several inputs."""
    if isinstance(contract, ArrayPreprocess) and len(contract.inputs) > 1:
        model.register_forward_pre_hook(Unpacking(contract))
    return model


def _unnamed(fields: Sequence[str] | Any, inputs: int) -> bool:
    return len(fields) == inputs and list(fields) == [f"{ONLY}{number}" for number in range(inputs)]
