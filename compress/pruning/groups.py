"""Groups of units that can be removed together without tracing the whole model: scored, masked, removed.

A unit is what is removed as a whole: a channel between two layers, a head, or one dimension of every head. A group
states which slices of which tensors belong to its units, and which attributes of modules depend on their number. One
description serves all purposes: importance is read from the slices, masking zeroes those through which a unit affects
the rest of the model, and removal cuts all of them out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from compress.pruning.importance import NOTED, Part, unit_scores
from compress.pruning.provenance import Provenance

Kind = Literal["mlp", "channels", "heads", "head_dims", "embedding"]
Kept = torch.Tensor
"""(rows, kept) indices of the units that stay, ascending in each row."""
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class Cut:
    """The slices of one dimension of a tensor that belong to the units of a group.

    The dimension consists of ``len(rows)`` segments, each with all units and ``size`` entries per unit: one segment for
    a plain layer, three (query, key, value) for a fused projection.

    Attributes:
        path: path of the module.
        tensor: name of its parameter or buffer.
        dim: dimension that is cut.
        rows: for each segment, the row of the group to which its units belong.
        size: entries per unit in a segment.
        acts: True for tensors whose zeroing masks the unit.
    """

    path: str
    tensor: str
    dim: int = 0
    rows: tuple[int, ...] = (0,)
    size: int = 1
    acts: bool = False

    def positions(self, units: Kept, of: int) -> torch.Tensor:
        """Return the positions of the chosen of ``of`` units in the dimension: (len(rows) * chosen * size,)."""
        # Position of entry e of unit u in segment s: (s * units + u) * size + e.
        starts = torch.arange(len(self.rows))[:, None, None] * of
        return ((starts + units[list(self.rows)][:, :, None]) * self.size + torch.arange(self.size)).flatten()

    def by_unit(self, tensor: torch.Tensor, units: int, row: int) -> torch.Tensor:
        """Return the entries of a tensor that belong to each unit of a row: (units, entries)."""
        apart = tensor.movedim(self.dim, 0).reshape(len(self.rows), units, -1)
        return apart[[stretch for stretch, own in enumerate(self.rows) if own == row]].transpose(0, 1).flatten(1)


@dataclass(frozen=True)
class Number:
    """An attribute of a module that equals ``factor`` times the units of a group."""

    path: str
    attribute: str
    factor: int = 1


@dataclass(frozen=True)
class Group:
    """Units that can be removed one by one.

    Attributes:
        name: path of the layer or module that produces the units.
        kind: kind of units.
        units: number of units in each row.
        cuts: slices of tensors that belong to them.
        numbers: attributes that depend on their number.
        rows: sets of units, each ranked separately, that lose equally many.
    """

    name: str
    kind: Kind
    units: int
    cuts: tuple[Cut, ...]
    numbers: tuple[Number, ...]
    rows: int = 1

    def scores(self, model: nn.Module, importance: str) -> torch.Tensor | None:
        """Return the importance of each unit, (rows, units); None if the measure does not apply to the group."""
        found = [unit_scores(importance, self._parts(model, row)) for row in range(self.rows)]
        return None if any(row is None for row in found) else torch.stack(found)  # type: ignore[arg-type]

    def _parts(self, model: nn.Module, row: int) -> list[Part]:
        parts = []
        for cut in self.cuts:
            module = model.get_submodule(cut.path)
            # Layer norms and position tokens are cut as well, but their values do not measure a unit's importance.
            weighs = isinstance(module, (*LAYERS, nn.Embedding, nn.modules.batchnorm._BatchNorm))
            if cut.tensor == "weight" and weighs and row in cut.rows:
                weight, noted = model.get_parameter(f"{cut.path}.weight"), getattr(module, NOTED, None)
                parts.append(
                    Part(
                        values=cut.by_unit(weight.detach(), self.units, row),
                        gradients=None if weight.grad is None else cut.by_unit(weight.grad, self.units, row),
                        # Scores are stored per input, so only the layers that read units (dim 1) have them.
                        noted=None if noted is None or not cut.dim else _noted(cut, noted, self.units, row),
                        role="norm" if weight.ndim == 1 else ("in" if cut.dim else "out"),
                    )
                )
        return parts

    def mask(self, model: nn.Module, kept: Kept) -> None:
        """Zero the tensors through which the other units act, in place."""
        gone = torch.stack([_others(row, self.units) for row in kept])
        for cut in self.cuts:
            if cut.acts:
                tensor = getattr(model.get_submodule(cut.path), cut.tensor)
                tensor.data.index_fill_(cut.dim, cut.positions(gone, self.units), 0)

    def note(self, provenance: Provenance, model: nn.Module, kept: Kept) -> None:
        """Record what the layers of the model lose when the other units are cut out."""
        for cut in self.cuts:
            if cut.tensor == "weight" and isinstance(model.get_submodule(cut.path), LAYERS):
                if cut.dim == 0:
                    provenance.keep_outputs(cut.path, cut.positions(kept, self.units))
                else:
                    provenance.lose_inputs(cut.path)

    def remove(self, model: nn.Module, kept: Kept) -> Group:
        """Cut the other units out, in place; return the resulting group."""
        for cut in self.cuts:
            module = model.get_submodule(cut.path)
            tensor = getattr(module, cut.tensor)
            places = cut.positions(kept, self.units).to(tensor.device)
            left = tensor.detach().index_select(cut.dim, places)
            # A buffer stays a buffer, such as the running mean of a batch norm.
            if isinstance(tensor, nn.Parameter):
                left = nn.Parameter(left, tensor.requires_grad)
            setattr(module, cut.tensor, left)
        units = kept.shape[1]
        for number in self.numbers:
            module, now = model.get_submodule(number.path), units * number.factor
            shape = isinstance(getattr(module, number.attribute), tuple)  # as in a layer norm
            setattr(module, number.attribute, (now,) if shape else now)
        # Cuts hold rows and sizes but no positions, so they stay valid for the narrower group.
        return Group(self.name, self.kind, units, self.cuts, self.numbers, self.rows)


def add_sparsity_gradient(model: nn.Module, groups: Iterable[Group], strength: float) -> None:
    """Add a pull towards 0 to the gradients, stronger for units with a small norm: see StructuredPrune.

    Fang et al. 2023 (arXiv 2301.12900), equation 5: from ``strength`` for the strongest unit of a group to 16 times
    that for the weakest.
    """
    for group in groups:
        for row in range(group.rows):
            norms = torch.stack([part.values.square().sum(1) for part in group._parts(model, row)]).mean(0)
            # Equal norms would divide by 0.
            spread = (norms.max() - norms.min()).clamp(min=torch.finfo(norms.dtype).tiny)
            weights = strength * 2 ** (4 * (norms.max() - norms) / spread)
            for cut in group.cuts:
                tensor = getattr(model.get_submodule(cut.path), cut.tensor)
                if row in cut.rows and tensor.grad is not None:
                    own = torch.zeros(group.rows, group.units).to(weights)
                    own[row] = weights
                    along = own[list(cut.rows)][:, :, None].expand(-1, -1, cut.size).flatten()
                    shape = [-1 if dim == cut.dim else 1 for dim in range(tensor.ndim)]
                    tensor.grad += along.view(shape) * tensor.detach()


def _noted(cut: Cut, noted: torch.Tensor, units: int, row: int) -> torch.Tensor:
    """Return the mean of the stored scores over the inputs of each unit, (units,)."""
    return Cut(cut.path, NOTED, 0, cut.rows, cut.size).by_unit(noted, units, row).mean(1)


def _others(kept: torch.Tensor, units: int) -> torch.Tensor:
    gone = torch.ones(units, dtype=torch.bool)
    gone[kept] = False
    return gone.nonzero().flatten()


def layer_cuts(model: nn.Module, path: str, dim: int, rows: tuple[int, ...] = (0,), size: int = 1) -> tuple[Cut, ...]:
    """Return the cuts of a layer's outputs (dim 0: weight and bias) or inputs (dim 1)."""
    layer = model.get_submodule(path)
    weight = Cut(path, "weight", dim, rows, size, acts=bool(dim))
    has_bias = dim == 0 and getattr(layer, "bias", None) is not None
    return (weight, Cut(path, "bias", 0, rows, size)) if has_bias else (weight,)


def layer_number(model: nn.Module, path: str, dim: int, factor: int = 1) -> Number:
    """Return the attribute of a layer that holds its number of outputs (dim 0) or inputs (dim 1)."""
    unit = "features" if isinstance(model.get_submodule(path), nn.Linear) else "channels"
    return Number(path, f"{'in' if dim else 'out'}_{unit}", factor)
