"""DP-SGD for a whole network: sampling, step count and noise are our own; Opacus only gives per-sample gradients.

Opacus derives the sampling rate from the length of a loader and draws noise from torch's generator; neither is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.core.progress import Progress
from certify.data import Preprocess, Split
from compress.core.samples import as_tensor
from compress.private.adam import Adam
from compress.private.budget import Schedule
from compress.private.entropy import Floats, coins, gaussian
from compress.private.noise_check import require_noise
from compress.private.per_sample import PROBED, clipped, gradient_error, gradients, trained, watched
from compress.training.data import IN_MEMORY_BYTES, TorchSplit

TOLERANCE = 1e-5


@dataclass(frozen=True)
class PrivateRun:
    """Result of a noisy training.

    Attributes:
        sizes: realised batch sizes, one per step.
        gradient_error: see :func:`compress.private.per_sample.gradient_error`.
    """

    sizes: tuple[int, ...]
    gradient_error: float


class Records:
    """Private records, read under the name of the mechanism; small data sets are preprocessed only once."""

    def __init__(self, split: Split, preprocess: Preprocess, mechanism: str, device: str) -> None:
        self._place = torch.device(device)
        self._data = TorchSplit(split.under(mechanism), preprocess)
        # Cached, because each record is drawn again in many steps.
        small = self._data.bytes <= IN_MEMORY_BYTES
        self._cached = self._data.batch(np.arange(len(split))) if small else None

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return samples (n, ...) and labels (n,)."""
        if self._cached is None:
            samples, labels = self._data.batch(indices)
        else:
            chosen = torch.from_numpy(indices)
            samples, labels = self._cached[0][chosen], self._cached[1][chosen]
        return samples.to(self._place), labels.to(self._place)


def train(
    model: nn.Module,
    split: Split,
    preprocess: Preprocess,
    schedule: Schedule,
    chunk: int,
    progress: Progress,
    device: str = "cpu",
) -> PrivateRun:
    """Train the trainable parameters of a model, in place; it ends in eval mode.

    Args:
        model: model that returns logits (n, classes).
        split: the private part.
        preprocess: the contract.
        schedule: settings of the training.
        chunk: samples whose gradients are in memory at once.
        progress: where to report progress.
        device: device of the training.

    Raises:
        MissingExtra: Opacus is not installed.
        UsageError: a layer mixes samples, or its samples cannot be separated.
        ModelError: gradients differ from those of a loop, or the sums do not contain the noise.
    """
    model.train()
    synthetic = as_tensor(preprocess.noise(PROBED))
    # Labels of different classes, so that the samples' gradients differ and a mix-up would show.
    labels = torch.arange(PROBED) % split_classes(model, synthetic)
    error = gradient_error(model, synthetic, labels)
    # Negated, so that NaN fails too.
    if not error <= TOLERANCE:
        raise ModelError(f"Per-sample gradients differ from those of a loop by {error:.2g}; nothing was trained.")
    # Created after the test of the gradients, so that a model that fails it reads no private record.
    records = Records(split, preprocess, schedule.mechanism, device)
    model.to(device)
    parameters = trained(model)
    count = sum(parameter.numel() for parameter in parameters)
    adam, sizes = Adam(count, schedule.lr, schedule.steps), []
    with torch.random.fork_rng(devices=[]), watched(model) as wrapped:
        torch.seed()  # dropout masks must not repeat under the job's seed
        # The noise does not depend on the records, so the test runs on a sum of zeros.
        quiet = torch.zeros(count, dtype=torch.float64).numpy()
        require_noise(lambda: noisy(quiet, schedule), schedule.noise * schedule.clip, schedule.mechanism)
        with progress.task("Training privately", total=schedule.steps) as bar:
            for _ in range(schedule.steps):
                drawn = coins(len(records), schedule.rate)
                sizes.append(len(drawn))
                total = noisy(_sum(wrapped, records, drawn, schedule.clip, chunk, count), schedule)
                _move(parameters, adam.step(total))
                bar.advance()
    model.to("cpu").eval()
    return PrivateRun(tuple(sizes), error)


@torch.no_grad()
def split_classes(model: nn.Module, samples: torch.Tensor) -> int:
    """Return the outputs of a model."""
    return int(model(samples).shape[-1])


def noisy(total: Floats, schedule: Schedule) -> Floats:
    """Return a clipped sum, with the noise that the schedule accounts for."""
    return total + schedule.noise * schedule.clip * gaussian(len(total))


def _sum(wrapped: nn.Module, records: Records, drawn: np.ndarray, clip: float, chunk: int, count: int) -> Floats:
    total = torch.zeros(count, dtype=torch.float64)
    for start in range(0, len(drawn), chunk):
        samples, labels = records.batch(drawn[start : start + chunk])
        # Sum in double precision, because sums of thousands of float32 gradients would lose the low bits.
        total += clipped(gradients(wrapped, samples, labels).detach(), clip).double().cpu()
    return total.numpy()


@torch.no_grad()
def _move(parameters: list[nn.Parameter], step: Floats) -> None:
    start = 0
    for parameter in parameters:
        part = torch.from_numpy(step[start : start + parameter.numel()]).reshape(parameter.shape)
        parameter.sub_(part.to(parameter))
        start += parameter.numel()
