"""Which tensors of a checkpoint are a model's: below what prefix its keys stand, and what lies beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

import torch

from certify.core.errors import ModelError

SHOWN_KEYS = 5
MAIN = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint keeps the trained weights, beside averages of them and the optimizer's state."""
COMPILED = "_orig_mod."
"""What torch.compile puts into the keys of a module, and of parts that were compiled."""

State = dict[str, torch.Tensor]


def matched(tensors: Mapping[str, torch.Tensor], wanted: Set[str], name: str) -> tuple[State, str]:
    """The tensors of a checkpoint that are a model's, by the model's keys: those below the prefix that fits most.

    Trainers, wrappers and checkpoints put prefixes before the keys (``net.``, ``module.``, ``state_dict.model.``), and
    other tensors beside them.

    Args:
        tensors: of the whole file, by key.
        wanted: keys of the model.
        name: of the file.

    Returns:
        The tensors, and in words what was taken and left out; no words where all keys are the model's.

    Raises:
        ModelError: tensors that differ fit equally well below several prefixes.

    Example:
        >>> one = torch.zeros(1)
        >>> matched({"net.weight": one, "loss.scale": one}, {"weight"}, "last.ckpt")[1]
        "1 tensors under 'net.'; left out: loss.scale (1 in all)"
    """
    state = {key.replace(COMPILED, ""): value for key, value in tensors.items()}
    found = Counter(
        key.removesuffix(own) for key in state for own in _endings(key) if own in wanted or current_key(own) in wanted
    )
    most = max(found.values(), default=0)
    if found[""] == most:
        return state, ""
    below = {
        prefix: {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix, count in found.items()
        if count == most
    }
    chosen = _choose(below, name)
    left = [key for key in state if not key.startswith(chosen)]
    beside = f"; left out: {first_few(left)} ({len(left)} in all)" if left else ""
    return below[chosen], f"{len(below[chosen])} tensors under '{chosen}'{beside}"


def _choose(below: Mapping[str, State], name: str) -> str:
    """The prefix that is meant, of several that fit equally well."""
    main = next((near for near in ([p for p in below if p.split(".")[0] == key] for key in MAIN) if near), list(below))
    if any(not _same(below[main[0]], below[other]) for other in main):
        raise ModelError(
            f"{name} holds {len(main)} sets of weights that fit the model, under {', '.join(map(repr, main))}; save "
            "the one that is meant as a state dict or safetensors file of its own."
        )
    return main[0]


def current_key(key: str) -> str:
    """A key as models have it; torchvision's DenseNet files still have dots from before torch 0.4 (``norm.1``)."""
    return re.sub(r"\.(norm|relu|conv)\.(\d)\.", r".\1\2.", key)


def first_few(keys: Sequence[str]) -> str:
    """The first few of a list, for a sentence."""
    return ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")


def _endings(key: str) -> Iterator[str]:
    """``a.b.c``, ``b.c`` and ``c``."""
    while key:
        yield key
        key = key.partition(".")[2]


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
