"""From one array of samples to the inputs of a model: the one rule, for maker, referee and worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def by_input(names: Sequence[str], samples: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """What each input of a model is fed.

    Samples are kept and sent as one array. A model of one input is fed with it as it is; for a model of several inputs
    of one shape and type the second axis counts them, in the order of the names; inputs of several shapes or types are
    the fields of records.

    Args:
        names: of the inputs.
        samples: (n, ...) for one input, (n, inputs, ...) or records (n,) for several.
    """
    if len(names) == 1:
        return {names[0]: samples}
    if samples.dtype.names:
        return {name: np.ascontiguousarray(samples[name]) for name in names}
    return {name: np.ascontiguousarray(samples[:, position]) for position, name in enumerate(names)}
