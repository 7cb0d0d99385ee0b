"""Training on several devices: one process each, as torchrun starts them, of which one leads.

The lead runs the whole job; the others wait until it trains, take the part of every batch that is theirs, and wait
again. Where there is one process, everything here does nothing. Data-parallel training as in Li et al., "PyTorch
Distributed", VLDB 2020 (arXiv 2006.15704), through torch's own DistributedDataParallel.
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
"""How long the others wait while the lead prunes, exports or measures."""

T = TypeVar("T")
Work = tuple[Callable[..., Any], tuple[Any, ...]]


@contextlib.contextmanager
def process_group() -> Iterator[bool]:
    """Take one's place in the team that torchrun started; gives whether this process leads.

    In the others it ends once the lead is done; they have nothing more to do then. A failure in one process ends it,
    whereupon torchrun ends the rest.
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
    gc.collect()  # what parallel() made must not outlive the group: its threads would abort the process
    dist.destroy_process_group()


def _serve_lead() -> None:
    """Do what the lead asks for, until it asks for nothing more."""
    with importing_from_here():
        while (work := broadcast(None)) is not None:
            function, arguments = pickle.loads(work)  # written by the lead of this very job
            function(*arguments)


@contextlib.contextmanager
def on_every_rank(function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Let the others of the team call a function, while the lead does its own part in the ``with`` block.

    Raises:
        ModelError: the arguments can't be sent to another process.
    """
    if world_size() == 1:
        yield
        return
    try:
        work = pickle.dumps((function, arguments))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ModelError(
            f"Training on {world_size()} processes: the model or the data can't be sent to them ({error}); "
            "define its classes and functions in a module, or train without torchrun."
        ) from error
    broadcast(work)
    step_cost.mark_unmetered()
    yield


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if _several() else 1


def rank() -> int:
    """Number of this process, from 0, which is the lead's."""
    return dist.get_rank() if _several() else 0


def is_lead() -> bool:
    """Whether this process leads; the only one does."""
    return rank() == 0


def broadcast(value: T) -> T:
    """The lead's value, in every process."""
    if not _several():
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def mean(value: float) -> float:
    """Mean of a number over the processes."""
    if not _several():
        return value
    held = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(held)
    return float(held) / world_size()


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Give tensors the values that the lead has, in place."""
    for tensor in tensors if _several() else ():
        dist.broadcast(tensor, 0)


def parallel(module: nn.Module) -> nn.Module:
    """The module, with gradients that become the mean over the processes in the backward pass."""
    if world_size() == 1:
        return module
    # static: each step takes the same way through the network, but may leave parts of it out
    return DistributedDataParallel(module, static_graph=True)


def _several() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized()
