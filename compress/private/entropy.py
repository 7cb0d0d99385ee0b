"""Coins and noise from the system's entropy; nothing here takes a seed, and nothing can be drawn a second time.

Noise from a generator with a seed can be subtracted by whoever knows the seed, and that of a generator which is not
cryptographic can be predicted from some of its output. So every bit comes from ``os.urandom``. The Gaussians are
floating-point numbers all the same, whose low bits tell something of the sum (Mironov 2012); the records state it.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MANTISSA = 53


def uniform(count: int) -> Floats:
    """Numbers above 0 and up to 1, evenly spread, (count,)."""
    words = np.frombuffer(os.urandom(8 * count), dtype="<u8") >> np.uint64(64 - MANTISSA)
    numbers: Floats = (words.astype(np.float64) + 1.0) * 2.0**-MANTISSA
    return numbers


def coins(count: int, rate: float) -> npt.NDArray[np.int64]:
    """Indices of the records of a Poisson sample: each is in with probability ``rate``, by a coin of its own.

    Example:
        >>> coins(4, 1.0).tolist()
        [0, 1, 2, 3]
    """
    return np.flatnonzero(uniform(count) <= rate).astype(np.int64)


def gaussian(*shape: int) -> Floats:
    """Standard normal numbers (Box and Muller 1958).

    Example:
        >>> gaussian(2, 3).shape
        (2, 3)
    """
    count = math.prod(shape)
    half = -(-count // 2)
    radius = np.sqrt(-2.0 * np.log(uniform(half)))
    angle = 2.0 * np.pi * uniform(half)
    drawn: Floats = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)
    return drawn
