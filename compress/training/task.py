"""Training tasks: classes, or numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from certify.core.errors import DataError
from certify.data import Preprocess, Split

UNLABELLED = -100
"""Label of an unlabelled sample, which torch's cross-entropy ignores."""
# Just above the precision of float32, so that 1 - TINY is below 1.
TINY = 1e-7


@dataclass(frozen=True)
class Task:
    """Interpretation of outputs during training.

    Attributes:
        columns: output columns of the data's classes; None for all.
        reading: kind of outputs, ``logits`` or ``probabilities``.
        numbers: numbers to predict, by label; None if labels are classes.
        scale: unit of errors of numbers.

    Example:
        >>> Task(columns=None).logits(torch.tensor([[2.0]])).tolist()
        [[0.0, 2.0]]
    """

    columns: tuple[int, ...] | None
    reading: str = "logits"
    numbers: torch.Tensor | None = None
    scale: float = 1.0

    @classmethod
    def of(cls, split: Split, preprocess: Preprocess) -> Task:
        """Return the task of a part of the data.

        Raises:
            DataError: it contains numbers without a scale.
        """
        targets = split.targets
        if targets is None:
            return cls(preprocess.class_map, preprocess.reading)
        if targets.scale is None:
            raise DataError("The data contains numbers to predict; give their scale with the metric regression:SCALE.")
        return cls(None, preprocess.reading, torch.tensor(targets.values, dtype=torch.float32), targets.scale)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return logits with a column for each class; a single output becomes the second of two."""
        if outputs.shape[1] > 1:
            return outputs
        if self.reading == "logits":
            return torch.cat([torch.zeros_like(outputs), outputs], 1)
        share = outputs.clamp(TINY, 1 - TINY)
        return torch.cat([1 - share, share], 1).log()

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """Compute cross-entropy, or the smooth absolute error in scales (Huber 1964), without unlabelled samples."""
        if self.numbers is not None:
            known = labels != UNLABELLED
            truth = self.numbers.to(outputs.device)[labels[known]]
            return self.error(outputs[known, 0], truth) / known.sum().clamp(min=1)
        return self._cross_entropy(outputs, labels, label_smoothing, "mean")

    def losses(self, outputs: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """Return the cross-entropy of each sample, (n,); 0 for unlabelled ones."""
        return self._cross_entropy(outputs, labels, label_smoothing, "none")

    def _cross_entropy(
        self, outputs: torch.Tensor, labels: torch.Tensor, smoothing: float, reduction: str
    ) -> torch.Tensor:
        logits = self.logits(outputs)
        chosen = logits if self.columns is None else logits[:, list(self.columns)]
        return F.cross_entropy(chosen, labels, label_smoothing=smoothing, ignore_index=UNLABELLED, reduction=reduction)

    def error(self, answers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Compute the sum of smooth absolute errors of numbers, in scales."""
        return F.smooth_l1_loss(answers / self.scale, truth / self.scale, reduction="sum")
