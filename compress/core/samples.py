"""Conversion of a contract's samples to torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def as_tensor(samples: npt.NDArray[Any]) -> torch.Tensor:
    """Return samples (n, ...) as one tensor; records of several inputs as their bytes, uint8 (n, bytes).

    A model with several inputs splits the bytes again, see :mod:`compress.models.named_inputs`.
    """
    import torch  # not at the top: reading recipes and listing passes must not need it

    if samples.dtype.names:
        samples = np.ascontiguousarray(samples).view(np.uint8).reshape(len(samples), -1)
    return torch.from_numpy(samples)
