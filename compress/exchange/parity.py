"""Parity of an ONNX file with the torch model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.core.errors import ModelError
from certify.core.input_mapping import by_input
from compress.core import onnx_session
from compress.core.samples import as_tensor

MAX_RELATIVE_DIFFERENCE = 1e-3
"""Largest difference of an output, as a share of the largest output: reordered float32 sums stay below 1e-4 for nets
of hundreds of layers; a wrong operator does not."""

Samples = npt.NDArray[Any]


@dataclass(frozen=True)
class Parity:
    """Agreement of two models on the same inputs.

    Attributes:
        samples: number of inputs compared.
        max_relative_difference: largest difference of an output over the largest output of the torch model.
        top1_agreement: share of samples with the same top class; samples whose top two outputs are closer than the
            largest difference between the models count as agreeing.
    """

    samples: int
    max_relative_difference: float
    top1_agreement: float

    @property
    def holds(self) -> bool:
        """Whether the two can be considered the same model."""
        return self.max_relative_difference <= MAX_RELATIVE_DIFFERENCE and self.top1_agreement == 1.0

    def __str__(self) -> str:
        return (
            f"largest difference {self.max_relative_difference:.2g} of the largest output "
            f"(at most {MAX_RELATIVE_DIFFERENCE:g}), same top class for {self.top1_agreement:.1%} of "
            f"{self.samples} samples (all must agree)"
        )


def together(parities: Sequence[Parity]) -> Parity:
    """Combine several comparisons; each has its own largest output."""
    count = sum(parity.samples for parity in parities)
    return Parity(
        count,
        max(parity.max_relative_difference for parity in parities),
        sum(parity.top1_agreement * parity.samples for parity in parities) / count,
    )


def compare(model: nn.Module, path: Path, samples: Samples) -> Parity:
    """Run both on the same inputs, the file once with all samples and once with one, to check that the batch is free.

    Args:
        model: the torch model, in evaluation mode.
        path: the ONNX file.
        samples: (n, ...) from the contract, n at least 2.

    Raises:
        ModelError: the file does not run, or the torch model's outputs are not finite.
    """
    with torch.inference_mode():
        wanted = model(as_tensor(samples)).float().numpy()
    require_finite(wanted)
    return agreement(wanted, run_onnx(path, samples))


def require_finite(outputs: npt.NDArray[np.float32]) -> None:
    """Reject a torch model whose outputs overflow.

    Raises:
        ModelError: an output is NaN or infinite.
    """
    if not np.isfinite(outputs).all():
        raise ModelError(
            "The model's outputs are not finite (NaN or infinite) on the samples that check the export; check its "
            "weights and the preprocessing contract."
        )


def run_onnx(path: Path, samples: Samples) -> npt.NDArray[np.float32]:
    """Return the outputs of an ONNX file in ONNX Runtime on the CPU: the first sample alone, then all others at once.

    Raises:
        ModelError: ONNX Runtime rejects the file or an input; the error quotes its message.
    """
    try:
        session = onnx_session.session(path)
        names = [port.name for port in session.get_inputs()]
        # A file whose batch was frozen at export fails with one of the two sizes.
        parts = [onnx_session.run(session, None, by_input(names, part))[0] for part in (samples[:1], samples[1:])]
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from error
    outputs: npt.NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    return outputs


def agreement(wanted: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Parity:
    """Compare two tables of outputs (n, classes); outputs that are not finite count as infinitely different.

    Example:
        >>> outputs = np.array([[2.0, 1.0]])
        >>> agreement(outputs, outputs + 1e-6).holds
        True
    """
    if wanted.shape != found.shape:
        raise ModelError(f"The exported file returns outputs {found.shape}, but the model returns {wanted.shape}.")
    if not np.isfinite(found).all():
        return Parity(len(wanted), float("inf"), 0.0)
    difference = float(np.abs(wanted - found).max())
    largest = float(np.abs(wanted).max())
    relative = difference / largest if largest > 0 else (0.0 if difference == 0 else float("inf"))
    first_two = np.sort(wanted, axis=1)[:, -2:]
    # Each of the two outputs may move by the largest difference, towards each other.
    undecided = first_two[:, -1] - first_two[:, 0] <= 2 * difference
    same = wanted.argmax(axis=1) == found.argmax(axis=1)
    return Parity(len(wanted), relative, float((same | undecided).mean()))
