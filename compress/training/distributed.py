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
from typing import TYPE_CHECKING, Any, TypeVar

from certify.callables import importing_from_here
from certify.errors import ModelError
from compress.core import step_cost

if TYPE_CHECKING:
    import torch
    from torch import nn

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
    import torch
    import torch.distributed as dist

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
    dist = _distributed()
    return 1 if dist is None else dist.get_world_size()


def rank() -> int:
    """Number of this process, from 0, which is the lead's."""
    dist = _distributed()
    return 0 if dist is None else dist.get_rank()


def is_lead() -> bool:
    """Whether this process leads; the only one does."""
    return rank() == 0


def broadcast(value: T) -> T:
    """The lead's value, in every process."""
    dist = _distributed()
    if dist is None:
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def mean(value: float) -> float:
    """Mean of a number over the processes."""
    dist = _distributed()
    if dist is None:
        return value
    import torch

    held = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(held)
    return float(held) / world_size()


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Give tensors the values that the lead has, in place."""
    dist = _distributed()
    for tensor in tensors if dist is not None else ():
        dist.broadcast(tensor, 0)


def parallel(module: nn.Module) -> nn.Module:
    """The module, with gradients that become the mean over the processes in the backward pass."""
    if world_size() == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    # static: each step takes the same way through the network, but may leave parts of it out
    return DistributedDataParallel(module, static_graph=True)


def _distributed() -> Any:
    """torch.distributed where there is a team, or None."""
    import torch.distributed as dist

    return dist if dist.is_available() and dist.is_initialized() else None
