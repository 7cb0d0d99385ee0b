"""Rules of structured pruning: importances, scopes, and what stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from certify.core.errors import UsageError
from certify.core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from compress.pruning.heads import Unit

Importance = Literal[
    "magnitude_l1", "magnitude_l2", "lamp", "fpgm", "bn_scale", "taylor", "hessian", "activation", "obs", "random"
]
Scope = Literal["local", "global", "isomorphic"]

IMPORTANCES = Registry(
    "importance",
    "leanmark.importances",
    dict.fromkeys(get_args(Importance), "compress.pruning.importance"),
    "Name your own as package.module:function.",
)
"""Third-party ones are factories without arguments; their result takes a group of torch-pruning, a sequence of
(dependency, indices), and returns the importance of its channels, (channels,)."""


def known_importance(name: str) -> str:
    """Return the name of a third-party importance if it exists.

    Raises:
        ValueError: there is none; the nearest name is given.
    """
    try:
        IMPORTANCES.load(name)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return name


@dataclass(frozen=True)
class PruningRules:
    """How units are chosen, and what stays.

    Attributes:
        head: layer that keeps its outputs, the classes.
        importance: one of :data:`Importance`, or another of :data:`IMPORTANCES`.
        scope: which units are ranked together.
        multiple: multiple to which widths are rounded; heads are not.
        most: largest share of its units that a layer or group may lose.
        count: returns the counted quantity (multiply-adds, parameters) of the current model, on any device.
        keep: names of further layers that keep their outputs.
    """

    head: nn.Module
    importance: str
    scope: str
    multiple: int
    most: float
    count: Callable[[nn.Module], int]
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PruneSettings:
    """Settings of structured pruning; the fields are those of the pass StructuredPrune.

    Attributes:
        pass_name: name of the pass, for errors.
        macs: target MACs as a fraction of the original's, or None.
        parameters: target number of parameters likewise, or None.
        attention: what to prune in attention: ``heads``, ``head_dims`` or None.
        embedding: whether the width between the blocks of a transformer is pruned.
        importance: how units are scored (:mod:`compress.pruning.importance`).
        scope: ``local``, ``global`` or ``isomorphic``.
        steps: rounds of pruning.
        recover_epochs: epochs of training between rounds.
        sparsify_epochs: epochs of sparse learning before the first round.
        sparsify: strength of its penalty.
        round_to: multiple to which widths are rounded; None for one that suits the target.
        keep_layers: patterns of layers that keep their outputs.
        max_ratio: largest share of its units that a layer may lose.
        time_limit_s: time limit of the tracing and of each round.
        batches: batches of 64 samples for estimating an importance.
        refit_samples: samples for refitting layers and eliminating units.
        reconstruct: whether layers are refitted to the original's activations afterwards.
    """

    pass_name: str
    macs: float | None
    parameters: float | None
    attention: Unit | None
    embedding: bool
    importance: str
    scope: str
    steps: int
    recover_epochs: int
    sparsify_epochs: int
    sparsify: float
    round_to: int | None
    keep_layers: tuple[str, ...]
    max_ratio: float
    time_limit_s: float
    batches: int
    refit_samples: int
    reconstruct: bool
