"""Selection of a model's tensors in a checkpoint: the prefix of its keys, and the tensors that are not its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

import torch

from certify.core.errors import ModelError

SHOWN_KEYS = 5
MAIN = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint keeps the trained weights, besides averages of them and the optimizer's state."""
COMPILED = "_orig_mod."
"""Inserted by torch.compile into the keys of a module, and of compiled parts."""

State = dict[str, torch.Tensor]


def matched(tensors: Mapping[str, torch.Tensor], wanted: Set[str], name: str) -> tuple[State, str]:
    """Return the tensors of a checkpoint that belong to a model, by the model's keys: those under the best prefix.

    Trainers, wrappers and checkpoints add prefixes to the keys (``net.``, ``module.``, ``state_dict.model.``), and
    further tensors.

    Args:
        tensors: tensors of the whole file, by key.
        wanted: keys of the model.
        name: name of the file.

    Returns:
        The tensors, and a description of what was used and left out; it is empty if all keys are the model's.

    Raises:
        ModelError: different tensors fit equally well under several prefixes.

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
    # No prefix fits as many keys, so the state is the model's own.
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
    """Return the intended prefix among several that fit equally well."""
    main = next((near for near in ([p for p in below if p.split(".")[0] == key] for key in MAIN) if near), list(below))
    if any(not _same(below[main[0]], below[prefix]) for prefix in main):
        raise ModelError(
            f"{name} holds {len(main)} sets of weights that fit the model, under {', '.join(map(repr, main))}; save "
            "the intended one as a state dict or safetensors file of its own."
        )
    return main[0]


def current_key(key: str) -> str:
    """Return the current form of a key; torchvision's DenseNet files have dots from before torch 0.4 (``norm.1``).

    Example:
        >>> current_key("layer.norm.1.weight")
        'layer.norm1.weight'
    """
    return re.sub(r"\.(norm|relu|conv)\.(\d)\.", r".\1\2.", key)


def first_few(keys: Sequence[str]) -> str:
    """Return the first few names of a list, for a sentence.

    Example:
        >>> first_few(list("abcdefg"))
        'a, b, c, d, e, ...'
    """
    return ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")


def _endings(key: str) -> Iterator[str]:
    """Yield ``a.b.c``, ``b.c`` and ``c``."""
    while key:
        yield key
        key = key.partition(".")[2]


def _same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
