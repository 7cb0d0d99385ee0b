"""Public samples that all clients have, and a model's half-precision logits on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.core.errors import DataError
from certify.data import Preprocess, Split
from compress.training.data import TorchSplit, on_device

BATCH = 256


@dataclass(frozen=True)
class PublicSamples:
    """Samples that are not private; their labels are not read.

    Attributes:
        samples: preprocessed samples, (n, ...).
        digest: hex SHA-256 of the samples, by which server and clients confirm that theirs are the same.
    """

    samples: torch.Tensor
    digest: str

    @classmethod
    def of(cls, split: Split, preprocess: Preprocess) -> PublicSamples:
        """Read and preprocess a split."""
        samples = TorchSplit(split, preprocess).batch(np.arange(len(split)))[0]
        return cls(samples, hashlib.sha256(samples.numpy().tobytes()).hexdigest())

    def __len__(self) -> int:
        return len(self.samples)

    @torch.inference_mode()
    def answers(self, model: nn.Module) -> bytes:
        """Return the logits of a model in eval mode, (n, outputs), as float16 bytes, minus their mean over the outputs.

        The mean does not change the softmax, and without it the values are small enough for half precision.
        """
        place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        parts = [model(on_device(part, place)).float().cpu() for part in self.samples.split(BATCH)]
        logits = torch.cat(parts)
        return (logits - logits.mean(1, keepdim=True)).numpy().astype("<f2").tobytes()


def read_logits(payload: bytes, samples: int, outputs: int) -> npt.NDArray[np.float32]:
    """Parse the output of :meth:`PublicSamples.answers`, (samples, outputs).

    Raises:
        DataError: the length is wrong, or a value is not finite.
    """
    if len(payload) != 2 * samples * outputs:
        raise DataError(f"Logits must have {2 * samples * outputs} bytes, got {len(payload)}.")
    found: npt.NDArray[np.float32] = np.frombuffer(payload, "<f2").astype(np.float32).reshape(samples, outputs)
    if not np.isfinite(found).all():
        raise DataError("The logits have values that are not finite.")
    return found
