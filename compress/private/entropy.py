"""Coins and noise from the system's entropy; nothing here takes a seed, and no draw can be repeated.

Seeded noise can be subtracted by anyone who knows the seed, and noise from a generator that is not cryptographic can be
predicted from some of its output. So every bit comes from ``os.urandom``. The Gaussians are nevertheless floating-point
numbers, whose low bits reveal something about the sum (Mironov 2012); the records state this.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Bits of precision of a float64.
MANTISSA = 53


def uniform(count: int) -> Floats:
    """Return uniform random numbers in (0, 1], (count,)."""
    # 53 bits fill the mantissa of a double, so that every value is equally likely.
    words = np.frombuffer(os.urandom(8 * count), dtype="<u8") >> np.uint64(64 - MANTISSA)
    # Never 0, whose logarithm is infinite in gaussian().
    numbers: Floats = (words.astype(np.float64) + 1.0) * 2.0**-MANTISSA
    return numbers


def coins(count: int, rate: float) -> npt.NDArray[np.int64]:
    """Return the indices of a Poisson sample: each record is in it with probability ``rate``, independently.

    Example:
        >>> coins(4, 1.0).tolist()
        [0, 1, 2, 3]
    """
    return np.flatnonzero(uniform(count) <= rate).astype(np.int64)


def gaussian(*shape: int) -> Floats:
    """Return standard normal numbers (Box and Muller 1958).

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
