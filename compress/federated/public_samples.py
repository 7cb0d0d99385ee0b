"""Public samples that all clients have, and what a model says of them, as it travels: half-precision logits."""

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
    """Samples that nobody need keep to themselves; their labels are not read.

    Attributes:
        samples: preprocessed, (n, ...).
        digest: hex SHA-256 of them, by which server and client know that they mean the same ones.
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
        """Logits of a model in evaluation mode, (n, outputs), as float16; their mean over the outputs is taken off.

        Softmax does not see the mean, and without it the numbers are small enough for half precision.
        """
        place = next((one.device for one in model.parameters()), torch.device("cpu"))
        parts = [model(on_device(part, place)).float().cpu() for part in self.samples.split(BATCH)]
        logits = torch.cat(parts)
        return (logits - logits.mean(1, keepdim=True)).numpy().astype("<f2").tobytes()


def read_logits(payload: bytes, samples: int, outputs: int) -> npt.NDArray[np.float32]:
    """What :meth:`PublicSamples.answers` gave, (samples, outputs).

    Raises:
        DataError: the bytes have another length, or hold numbers that are not finite.
    """
    if len(payload) != 2 * samples * outputs:
        raise DataError(f"Logits of {2 * samples * outputs} bytes are wanted and {len(payload)} came.")
    found: npt.NDArray[np.float32] = np.frombuffer(payload, "<f2").astype(np.float32).reshape(samples, outputs)
    if not np.isfinite(found).all():
        raise DataError("The logits hold numbers that are not finite.")
    return found
