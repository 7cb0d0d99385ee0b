"""How structured pruning chooses: importances, scopes, and what stays."""

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
    "One of your own is named as package.module:function.",
)
"""Those of others are factories without arguments; what they make takes a group of torch-pruning's, a sequence of
(dependency, indices), and gives the importance of its channels, (channels,)."""


def known_importance(name: str) -> str:
    """The name of an importance of somebody else's, as it is.

    Raises:
        ValueError: there is none; the nearest is named.
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
        multiple: widths are kept at multiples of this; heads are not.
        most: largest share of its units that a layer or group may lose.
        count: gives what is to fall (multiply-adds, parameters) of the model as it is, on whatever device it is.
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
    """What structured pruning is asked for; the fields are those of the pass StructuredPrune.

    Attributes:
        asked_by: name of the pass, for errors.
        macs: share of the original's multiply-adds to be left, or None.
        parameters: share of its parameters, or None.
        attention: what attention loses: ``heads``, ``head_dims`` or None.
        embedding: whether the width between the blocks of a transformer is pruned.
        importance: how units are scored (:mod:`compress.pruning.importance`).
        scope: ``local``, ``global`` or ``isomorphic``.
        steps: rounds of pruning.
        recover_epochs: of training between two rounds.
        sparsify_epochs: of sparse learning before the first.
        sparsify: strength of its penalty.
        round_to: multiple that widths are kept at; None for one that suits the target.
        keep_layers: patterns of layers that keep their outputs.
        max_ratio: largest share of its units that a layer loses.
        time_limit_s: for the tracing and for each round.
        batches: of 64 samples that an importance is estimated on.
        refit_samples: that layers are refitted and units eliminated on.
        reconstruct: whether layers are refitted to the original's activations afterwards.
    """

    asked_by: str
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
