"""Training on several devices: one process each, as started by torchrun, of which one leads.

The lead runs the whole job; the others wait until it trains, process their share of every batch, and wait again. With
one process, everything here does nothing. Data-parallel training as in Li et al., "PyTorch Distributed", VLDB 2020
(arXiv 2006.15704), through torch's own DistributedDataParallel.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from certify.core.callables import importing_from_here
from certify.core.errors import ModelError
from compress.core import step_cost

PATIENCE = timedelta(days=7)
"""How long the other ranks wait while the lead prunes, exports or measures."""

T = TypeVar("T")
Work = tuple[Callable[..., Any], tuple[Any, ...]]


@contextlib.contextmanager
def process_group() -> Iterator[bool]:
    """Join the process group started by torchrun; yield whether this process leads.

    On the other ranks it returns once the lead is done; they then have nothing left to do. A failure in one process
    ends it, whereupon torchrun ends the rest.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    if is_lead():
        yield True
        broadcast(None)
    else:
        _serve_lead()
        yield False
    gc.collect()  # modules from parallel() must not outlive the group: their threads would abort the process
    dist.destroy_process_group()


def _serve_lead() -> None:
    """Run the lead's requests until it sends none."""
    # The lead's functions may be defined in modules of the folder where the job was started.
    with importing_from_here():
        while (work := broadcast(None)) is not None:
            function, arguments = pickle.loads(work)  # written by the lead of this job
            function(*arguments)


@contextlib.contextmanager
def on_every_rank(function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Run a function on the other ranks, while the lead does its own part in the ``with`` block.

    Raises:
        ModelError: the arguments cannot be sent to another process.
    """
    if world_size() == 1:
        yield
        return
    try:
        work = pickle.dumps((function, arguments))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ModelError(
            f"Training on {world_size()} processes: the model or the data cannot be sent to them ({error}); "
            "define their classes and functions in a module, or train without torchrun."
        ) from error
    broadcast(work)
    step_cost.mark_unmetered()
    yield


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """Return the rank of this process; the lead has rank 0."""
    return dist.get_rank() if _several() else 0


def is_lead() -> bool:
    """Return whether this process leads, as a single process always does."""
    return rank() == 0


def broadcast(value: T) -> T:
    """Return the lead's value on every rank."""
    if not _several():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def mean(value: float) -> float:
    """Return the mean of a number over all ranks."""
    if not _several():
        return value
    summed = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(summed)
    return float(summed) / world_size()


def total(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all ranks, without a gradient."""
    summed = values.detach().clone()
    if _several():
        dist.all_reduce(summed)
    return summed


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Copy the lead's values into tensors on every rank, in place."""
    for tensor in tensors if _several() else ():
        dist.broadcast(tensor, 0)


def parallel(module: nn.Module) -> nn.Module:
    """Wrap a module so that the backward pass averages gradients over all ranks."""
    if world_size() == 1:
        return module
    # static graph: each step takes the same path through the network, which may leave parts of it unused
    return DistributedDataParallel(module, static_graph=True)


def _several() -> bool:
    """Return whether several processes train together."""
    return dist.is_available() and dist.is_initialized()
