"""Zeros of a layer that a smaller dense form would leave out.

Zeros in no order save nothing, and pruned networks have them. What can be left out are the positions of a kernel that
are zero for all channels, channels of zeros, and the products of channels without any connection: a layer in groups
that is written as one has zeros beside its blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def connected_share(matters: Mask, groups: npt.NDArray[np.int64] | None = None) -> float:
    """Return the share of a layer's weights that its smallest dense form keeps.

    Args:
        matters: which weights are not zero, (outputs, inputs of a group, kernel...).
        groups: group of each output, (outputs,); None if there is only one.

    Example:
        >>> two_blocks = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
        >>> connected_share(two_blocks)
        0.5
    """
    kernel: Mask = np.asarray(matters.any(axis=(0, 1)))
    pairs: Mask = np.asarray(matters.any(axis=tuple(range(2, matters.ndim))))
    if pairs.shape[1] == 1 or groups is None:
        connected = int(pairs.sum()) if pairs.shape[1] == 1 else sum(_blocks(pairs))
    else:
        connected = sum(sum(_blocks(pairs[groups == group])) for group in np.unique(groups))
    return float(kernel.mean()) * connected / pairs.size


def _blocks(pairs: Mask) -> Iterator[int]:
    """Yield the number of weights of each set of outputs and inputs that are connected; each is looked at once."""
    left: Mask = np.asarray(pairs.any(axis=1))
    while left.any():
        inputs: Mask = np.zeros(pairs.shape[1], dtype=bool)
        new: Mask = np.arange(len(left)) == np.argmax(left)
        count = 0
        while new.any():
            left &= ~new
            count += int(new.sum())
            reached: Mask = np.logical_and(pairs[new].any(axis=0), ~inputs)
            inputs |= reached
            new = np.logical_and(pairs[:, reached].any(axis=1), left)
        yield count * int(inputs.sum())
