"""Compression without training: the layers of a pruned network are refitted to the original's activations.

Layer by layer, in the order in which they run: a layer's inputs are those of the pruned network, in which all earlier
layers are refitted already; its targets are the original's, at its own output or, if a shortcut is added to that, at
the sum less the pruned network's shortcut. So each layer compensates not only for the inputs that it lost, but also for
what the layers before it could not. A shortcut with layers of its own is refitted before the sum. Unlabelled samples
are enough. Both networks run once, and only the Gram matrices of each layer are kept, by parts of the samples: how far
the weights may move is chosen on samples that took no part in the fit.

Papers: GRAIL (arXiv 2602.23795) folds the map from kept to all channels into the layer that reads them; CORP (arXiv
2602.05243) does so for MLPs and attention of vision transformers; OSSCAR (Meng et al., ICML 2024, arXiv 2403.12983)
and ZipLM (Kurtic et al., NeurIPS 2023, arXiv 2302.04089) choose the units by the same matrices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Node

from compress.core.pass_protocol import Declined
from compress.pruning.folds import Folds
from compress.pruning.lane import Lane, Start
from compress.pruning.least_squares import RIDGE, LayerRefit, refit
from compress.pruning.moments import ROWS_PER_INPUT, Misfit
from compress.pruning.program import Program, ancestors
from compress.pruning.rows import Rows
from compress.pruning.samples import Batches
from compress.pruning.sites import Layer, Sum, find_layers, find_sum

POSITIONS = 64
"""Positions of each sample on which a layer is fitted, drawn for each batch."""


@dataclass(frozen=True)
class Changes:
    """Changes of a network that is to be reconstructed.

    Attributes:
        outputs: for layers that lost outputs, by path, the indices of the remaining ones.
        inputs: paths of the layers that lost inputs.
        names: original path of layers whose path differs in the changed network.
        masks: for layers with weights that must stay 0, masks of the weight's shape that are 0 there.
    """

    outputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """Paths of the changed layers in the changed network."""
        return frozenset({*self.outputs, *self.inputs, *self.names, *self.masks})


@dataclass(frozen=True)
class Reconstruction:
    """Refitted layers, their samples and cost.

    Attributes:
        layers: errors of the layers, by path.
        samples: number of samples.
        cpu_s: CPU seconds.
        declined: changed layers that could not be refitted, with the reason.
    """

    layers: Mapping[str, LayerRefit]
    samples: int
    cpu_s: float
    declined: tuple[Declined, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for the lineage; errors are shares of the variance of the targets."""
        rows = {path: each.to_json() for path, each in self.layers.items()}
        return {"samples": self.samples, "cpu_s": round(self.cpu_s, 3), "layers": rows}


@dataclass(frozen=True)
class _Site:
    """A layer to refit, in both programs."""

    layer: Layer
    own: Node
    sum: Sum | None
    wanted: Node
    outputs: torch.Tensor | None
    mask: torch.Tensor | None

    @property
    def alone(self) -> _Site:
        """The same layer with its own output as the target."""
        return replace(self, sum=None, wanted=self.own)

    def target(self, values: torch.Tensor, shortcut: torch.Tensor | None) -> torch.Tensor:
        """Return the target of the layer, in the shape of its output."""
        channels = 1 if self.layer.is_convolution else -1
        if self.sum is None or shortcut is None:
            return values if self.outputs is None else values.index_select(channels, self.outputs)
        if self.outputs is not None:
            assert self.sum.channels is not None
            values = values.index_select(self.sum.channels, self.outputs)
        return self.sum.back(values - shortcut)


def reconstruct(
    original: nn.Module | Program,
    changed: nn.Module,
    changes: Changes,
    samples: Batches,
    *,
    seed: int = 0,
    ridge: float | None = None,
    every: bool = True,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> Reconstruction:
    """Refit the layers of a changed network in place to the original's activations.

    Args:
        original: original in eval mode, or its program for a batch of the samples; not modified.
        changed: changed network in eval mode, with the same code.
        changes: what was changed.
        samples: samples to run both on.
        seed: seed of the sampled positions.
        ridge: share of the Gram matrix's mean diagonal by which weights are held at their current values; None for
            the one of each layer that :meth:`compress.pruning.folds.Folds.ridge` chooses.
        every: whether unchanged layers after the first changed one are refitted too.
        advance: called for each layer.

    Raises:
        NotTraceable: the operators of one of the two cannot be listed.
    """
    began = time.process_time()
    first = samples.batch(0)
    before = original if isinstance(original, Program) else Program.of(original, first)
    programs = before, Program.of(changed, first)
    starts = tuple(Start.samples(program, samples.batch, samples.batches) for program in programs)
    refitted, declined = refit_layers(
        programs, changes, starts, samples.size, seed=seed, ridge=ridge, every=every, advance=advance
    )
    return Reconstruction(refitted, samples.count, time.process_time() - began, tuple(declined))


def refit_layers(
    programs: tuple[Program, Program],
    changes: Changes,
    starts: tuple[Start, ...],
    size: int,
    *,
    seed: int = 0,
    ridge: float | None = None,
    every: bool = True,
    advance: Callable[..., None] = lambda *_, **__: None,
) -> tuple[dict[str, LayerRefit], list[Declined]]:
    """Refit the layers of a changed program's model in place; see :func:`reconstruct`.

    Args:
        programs: of the original and of the changed network.
        changes: what was changed.
        starts: values from which each of them is run, in the same batches.
        size: number of samples in a batch.
        seed: see :func:`reconstruct`; likewise the others.
        ridge: likewise.
        every: likewise.
        advance: likewise.

    Returns:
        Errors of the refitted layers, by path, and the changed layers that could not be refitted.
    """
    sites, declined = _sites(programs, changes, every)
    generator = torch.Generator().manual_seed(seed)
    # The original's values are computed once for all layers, those of the changed network again behind each refitted
    # one.
    later = [site.wanted for site in sites]
    refitted = {}
    with Lane(programs[0], starts[0], later) as wanted, Lane(programs[1], starts[1]) as found:
        for site in sites:
            rows = Rows(site.layer, generator, POSITIONS, size)
            refitted[site.layer.path] = _refit(site, programs[1], wanted, found, rows, ridge)
            advance(1, site.layer.path)
    return refitted, declined


def _sites(programs: tuple[Program, Program], changes: Changes, every: bool) -> tuple[list[_Site], list[Declined]]:
    """Return the layers to refit in order, and those that should be refitted but cannot be."""
    originals = {layer.path: layer for layer in find_layers(programs[0])}
    nodes = {key: node for node, key in programs[0].keys.items()}
    found = {changes.names.get(layer.path, layer.path): layer for layer in find_layers(programs[1])}
    behind: set[str] = set()
    for path in originals:  # in the order in which they run
        if path not in found or found[path].path in changes.layers or (every and behind):
            behind.add(path)
    sites: list[_Site] = []
    for path, layer in found.items():
        same = originals.get(path)
        if same is None or path not in behind:
            continue
        outputs = changes.outputs.get(layer.path)
        total = find_sum(programs[1], layer)
        wanted = None if total is None else nodes.get(programs[1].keys[total.node])
        # Without a matching sum in the original, the layer's own output is the target.
        if total is None or wanted is None or (outputs is not None and total.channels is None):
            total, wanted = None, same.node
        # A target after the addition lets the layer make up for what the shortcut lost too.
        sites.append(_Site(layer, same.node, total, wanted, outputs, changes.masks.get(layer.path)))
    missing = changes.layers - {site.layer.path for site in sites}
    why = "its weight is not read by exactly one convolution or linear layer"
    return _in_turn(sites, programs[1]), [Declined(path, why) for path in sorted(missing)]


def _in_turn(sites: Iterable[_Site], program: Program) -> list[_Site]:
    """Order the layers so that where two branches are added, the layers of the shorter one are refitted first.

    The last layer of that branch is fitted to its own output. The last one of the longer branch then compensates, at
    the sum, for what both could not.
    """
    of = {site.layer.node: site for site in sites}
    before = {node: ancestors([node], ()) & of.keys() for node in of}
    done: dict[Node, _Site] = {}

    def place(node: Node, waiting: frozenset[Node]) -> None:
        if node in done:
            return
        site = of[node]
        other = set() if site.sum is None else ancestors([site.sum.shortcut], ()) & of.keys() - before[node]
        longer = all(len(before[each]) <= len(before[node]) for each in other)
        if longer and not other & waiting:
            for each in program.ordered(other):
                place(each, waiting | {node})
        # A layer of the shortcut that is refitted later would change the target.
        done[node] = site if other <= done.keys() else site.alone

    for node in of:
        place(node, frozenset())
    return list(done.values())


def _refit(site: _Site, program: Program, wanted: Lane, found: Lane, rows: Rows, ridge: float | None) -> LayerRefit:
    layer, model = site.layer, program.model
    weight = model.get_parameter(layer.weight)
    shortcuts = () if site.sum is None else (site.sum.shortcut,)
    moments: Folds | Misfit | None = None
    old = weight.detach().numpy()
    bias = None if layer.bias is None else model.get_parameter(layer.bias).detach().numpy()
    for (target,), (taken, *shortcut) in zip(
        wanted.values(site.wanted), found.values(layer.input, *shortcuts), strict=True
    ):
        with torch.inference_mode():
            x, y = rows.of(weight, taken, site.target(target, shortcut[0] if shortcut else None))
        if moments is None:
            old = old.reshape(*x.shape[:-2], -1, x.shape[-1])
            bias = None if bias is None else bias.reshape(old.shape[:-1])
            # Too few rows: a fit would repeat these samples and fail on others, so the layer stays as it is. Its Gram
            # matrix would be the largest of all and never be used.
            few = found.batches * x.shape[-2] < ROWS_PER_INPUT * x.shape[-1]
            sizes = x.shape[-1], y.shape[-1], x.shape[:-2]
            moments = Misfit(old, bias) if few else Folds(*sizes, batches=found.batches)
        moments.add(x, y, len(taken))
    assert moments is not None
    if isinstance(moments, Misfit):
        return LayerRefit(moments.share, moments.share, site.sum is not None)
    mask = None if site.mask is None else site.mask.numpy().reshape(old.shape) != 0
    with_bias = layer.bias is not None or layer.mean is not None
    if ridge is None:
        # With a mask, each output has a system of its own, too many to solve for each ridge.
        ridge = moments.ridge(old, with_bias=with_bias) if mask is None else RIDGE
    refitted = refit(moments.whole(), old, bias, mask=mask, ridge=ridge, with_bias=with_bias)
    _put(model, layer, refitted.weights, refitted.bias)
    return LayerRefit(refitted.before, refitted.after, site.sum is not None)


def _put(model: nn.Module, layer: Layer, weights: Any, bias: Any) -> None:
    """Store the new weights; a bias for which the layer has no place is subtracted from the next batch norm's mean."""
    with torch.no_grad():
        weight = model.get_parameter(layer.weight)
        weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)).reshape(weight.shape))
        if bias is None:
            return
        offset = torch.from_numpy(np.ascontiguousarray(bias)).flatten()
        if layer.bias is not None:
            model.get_parameter(layer.bias).copy_(offset)
        elif layer.mean is not None:
            # A batch norm subtracts its mean, so a smaller mean adds the offset.
            model.get_buffer(layer.mean).sub_(offset.to(weight.dtype))
