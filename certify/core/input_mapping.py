"""Mapping of an array of samples to the inputs of a model, shared by maker, referee and worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def by_input(names: Sequence[str], samples: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the array for each input of a model.

    Samples are stored and sent as one array. A model with one input is fed with the array itself; for several inputs of
    equal shape and type, the second axis is the input, in the order of the names; inputs of different shapes or types
    are the fields of records.

    Args:
        names: names of the inputs.
        samples: (n, ...) for one input, (n, inputs, ...) or records (n,) for several.
    """
    if len(names) == 1:
        return {names[0]: samples}
    if samples.dtype.names:
        return {name: np.ascontiguousarray(samples[name]) for name in names}
    return {name: np.ascontiguousarray(samples[:, position]) for position, name in enumerate(names)}
