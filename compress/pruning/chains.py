"""The width between two consecutive layers, as a group of channels.

Examples are the hidden width of a transformer's MLP and the inner channels of a bottleneck, an inverted residual or a
branch: one layer produces them, batch norms, depthwise convolutions and gates (Hu et al. 2018, arXiv 1709.01507)
process each separately, and one layer reads them. What the model does with the outputs of its blocks does not matter.
Layers are paired by the order in which they run; wrong pairs are detected by a test (`equivalence.verified_groups`).
"""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from compress.core.forward_hooks import ForwardHook, attach_hooks
from compress.pruning.groups import LAYERS, Cut, Group, Number, layer_cuts, layer_number

NORM = nn.modules.batchnorm._BatchNorm


@dataclass
class _Run:
    """A leaf module that ran: the shape of its output, and whether its only input was the previous leaf's output."""

    path: str
    module: nn.Module
    shape: torch.Size
    direct: bool


@dataclass
class _Chain:
    """Channels on their way from the layer that produces them, through leaf modules only (direct) or not."""

    maker: _Run
    width: int
    direct: bool = True
    gated: bool = False
    cuts: list[Cut] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)


def find_chains(model: nn.Module, sample: torch.Tensor, apart: Collection[str]) -> list[Group]:
    """Find candidate groups of channels between two layers.

    Args:
        model: model in eval mode.
        sample: (1, ...) input of the model.
        apart: paths of modules, with everything inside, that no chain may run through.
    """
    runs = _runs(model, sample)
    found: list[Group] = []
    chain: _Chain | None = None
    for place, run in enumerate(runs):
        if chain is not None:
            chain.direct &= run.direct
        if any(run.path == path or run.path.startswith(f"{path}.") for path in apart):
            chain = None
        elif chain is not None and (_follows(model, run, chain) or _in_gate(model, runs, place, chain)):
            continue
        elif _joins(run.module):
            outputs, inputs = _widths(run)
            if chain is not None and inputs == chain.width and _likely(model, chain, run):
                found.append(_closed(model, chain, run))
            chain = _Chain(run, outputs)
        # An unknown layer with weights per channel would keep its old width.
        elif any(True for _ in run.module.parameters()):
            chain = None
    return found


def _runs(model: nn.Module, sample: torch.Tensor) -> list[_Run]:
    """Return the leaf modules in the order in which they run, without those that run more than once."""
    runs: list[_Run] = []
    previous: list[object] = [None]

    def note(path: str) -> ForwardHook:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            shape = output.shape if isinstance(output, torch.Tensor) else torch.Size()
            # Compare identity, not equality, because any functional operator in between creates a new tensor.
            runs.append(_Run(path, module, shape, direct=len(inputs) == 1 and inputs[0] is previous[0]))
            previous[0] = output

        return hook

    with attach_hooks((module, note(path)) for path, module in _leaves(model)), torch.no_grad():
        model(sample)
    times = Counter(run.path for run in runs)
    # A layer that runs twice has two neighbours; activations without parameters may be shared.
    return [run for run in runs if times[run.path] == 1 or not any(True for _ in run.module.parameters())]


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules without children; a batch norm always counts as one (timm's contain their activation)."""
    norms: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{norm}.") for norm in norms):
            continue
        if isinstance(module, NORM):
            norms.append(path)
        if isinstance(module, NORM) or not any(True for _ in module.children()):
            yield path, module


def _joins(module: nn.Module) -> bool:
    """Return whether each output of a layer depends on all of its inputs."""
    return isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1 and not getattr(module, "transposed", False)


def _widths(run: _Run) -> tuple[int, int]:
    """Return the numbers of outputs and inputs of a layer."""
    outputs, inputs = run.module.weight.shape[:2]  # type: ignore[union-attr, index, misc]
    return int(outputs), int(inputs)  # type: ignore[arg-type]


def _likely(model: nn.Module, chain: _Chain, taker: _Run) -> bool:
    """Return False for layers of two consecutive blocks with something else between, such as a residual addition."""
    # Members of a sequence run one after the other, but a residual addition between them ties the width to a stream.
    common = os.path.commonprefix([chain.maker.path.split("."), taker.path.split(".")])
    in_a_row = isinstance(model.get_submodule(".".join(common)), nn.Sequential | nn.ModuleList)
    return chain.direct or chain.gated or not in_a_row


def _follows(model: nn.Module, run: _Run, chain: _Chain) -> bool:
    """Add a layer that processes each channel separately to the chain, if it has its width."""
    module, path = run.module, run.path
    if isinstance(module, NORM) and module.num_features == chain.width:
        names = ("weight", "bias", "running_mean", "running_var")
        chain.cuts += [Cut(path, name) for name in names if getattr(module, name) is not None]
        chain.numbers.append(Number(path, "num_features"))
        return True
    # Above 1, since with one channel a convolution is depthwise and ordinary at once.
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.out_channels == chain.width > 1:
        chain.cuts += layer_cuts(model, path, 0)
        chain.numbers += [Number(path, name) for name in ("in_channels", "out_channels", "groups")]
        return True
    return False


def _in_gate(model: nn.Module, runs: list[_Run], place: int, chain: _Chain) -> bool:
    """Add two layers that compute a factor per channel from all pooled channels to the chain.

    Called at either of the two; the first call adds both.
    """
    layers = [run for run in runs[place : place + 3] if _joins(run.module)]
    if layers and layers[0] is runs[place] and any(cut.path == runs[place].path for cut in chain.cuts):
        return True
    if len(layers) < 2 or layers[0] is not runs[place] or not _is_gate(layers[0], layers[1], chain):
        return False
    for run, dim in zip(layers[:2], (1, 0), strict=True):
        chain.cuts += layer_cuts(model, run.path, dim)
        chain.numbers.append(layer_number(model, run.path, dim))
    chain.gated = True
    return True


def _is_gate(down: _Run, up: _Run, chain: _Chain) -> bool:
    """Return whether they map the chain's width to another one and back, on one value per channel."""
    (middle, read), (written, between) = _widths(down), _widths(up)
    fits = read == written == chain.width and middle == between
    # One value per channel: the maps were pooled before, as in squeeze-and-excitation.
    single = down.shape.numel() == middle and chain.maker.shape.numel() > chain.width
    beside = down.path.rpartition(".")[0] == up.path.rpartition(".")[0]
    return fits and single and beside


def _closed(model: nn.Module, chain: _Chain, taker: _Run) -> Group:
    """Return the group of a chain, including the layer that reads the channels."""
    maker = chain.maker
    cuts = (*layer_cuts(model, maker.path, 0), *chain.cuts, *layer_cuts(model, taker.path, 1))
    numbers = (layer_number(model, maker.path, 0), *chain.numbers, layer_number(model, taker.path, 1))
    kind = "mlp" if isinstance(maker.module, nn.Linear) else "channels"
    return Group(maker.path, kind, chain.width, cuts, numbers)  # type: ignore[arg-type]
