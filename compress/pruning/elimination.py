"""Importance by elimination: the error of a layer without an input once the other inputs compensate.

Optimal Brain Surgeon for whole channels and heads, as in ZipLM (Kurtic et al., NeurIPS 2023, arXiv 2302.04089), on the
Gram matrices of the inputs of the layers that read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import nn

from compress.core.context import PassContext
from compress.pruning.heads import attentions
from compress.pruning.importance import NOTED, clear_notes
from compress.pruning.lane import Lane, Start
from compress.pruning.least_squares import Gram, eliminate
from compress.pruning.program import Program
from compress.pruning.rows import Rows
from compress.pruning.samples import Samples
from compress.pruning.sites import Layer, find_layers, find_sum

POSITIONS = 32
"""Positions per sample; the order of the units needs fewer of them than the refit of the weights."""


class EliminationEstimator:
    """Stores :func:`elimination_scores` on the layers that read units, for the measure ``obs``.

    Args:
        context: context of the pass, with the samples.
        samples: number of samples.
        takers: paths of the layers.
        whole_heads: whether attention is pruned by whole heads.
    """

    def __init__(self, context: PassContext, samples: int, takers: Collection[str], *, whole_heads: bool) -> None:
        self._samples, self._takers, self._seed = Samples(context, samples), takers, context.seed
        self._whole_heads = whole_heads

    def estimate(self, model: nn.Module) -> None:
        """Store the scores on the model.

        Raises:
            NotTraceable: the operators of the model cannot be listed.
        """
        found = elimination_scores(model, self._samples, self._takers, self._seed, whole_heads=self._whole_heads)
        for path, scores in found.items():
            setattr(model.get_submodule(path), NOTED, scores)

    def clear(self, model: nn.Module) -> None:
        """Remove what :meth:`estimate` stored."""
        clear_notes(model)


def elimination_scores(
    model: nn.Module, samples: Samples, paths: Collection[str], seed: int, *, whole_heads: bool
) -> dict[str, torch.Tensor]:
    """Return, for layers that read units, the error at which each of their inputs is removed: path -> (inputs,).

    Errors are shares of the variance of the layer's output, so that they can be compared between layers; the inputs of
    a unit share one error.

    Args:
        model: model in eval mode.
        samples: samples to run it on.
        paths: paths of the layers; layers that are missing from the model's program, or grouped, are skipped.
        seed: seed of the sampled positions.
        whole_heads: whether attention is pruned by whole heads.

    Raises:
        NotTraceable: the operators of the model cannot be listed.
    """
    program = Program.of(model, samples.batch(0))
    sizes = {found.back: found.head_dim for found in attentions(model)} if whole_heads else {}
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    with Lane(program, Start.samples(program, samples.batch, samples.batches)) as lane:
        for layer in find_layers(program):
            # In a grouped convolution a unit is read by one group only, so there is no common Gram matrix.
            if layer.path in paths and layer.groups == 1:
                rows = Rows(layer, generator, POSITIONS, samples.size)
                scores[layer.path] = _scores(program, lane, layer, rows, sizes)
    return scores


def _scores(program: Program, lane: Lane, layer: Layer, rows: Rows, sizes: Mapping[str, int]) -> torch.Tensor:
    weight = program.model.get_parameter(layer.weight)
    inputs, kernel = int(weight.shape[1]), weight.shape[2:].numel()
    gram = Gram(inputs * kernel, len(weight))
    for values, outputs in lane.values(layer.input, layer.node):
        with torch.inference_mode():
            gram.add(*rows.of(weight, values, outputs))
    size = sizes.get(layer.path, 1)
    units = np.arange(inputs * kernel).reshape(inputs // size, size * kernel)
    total = find_sum(program, layer)
    moments = gram.moments()
    if total is not None:
        # Errors count where they reach the residual stream, after the batch norm in between has scaled them.
        moments = moments.scaled(total.scales(layer))
    return torch.from_numpy(eliminate(moments, units).scores()).float().repeat_interleave(size)
