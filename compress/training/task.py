"""What a model learns: classes, or numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from certify.core.errors import DataError
from certify.data import Preprocess, Split

UNLABELLED = -100
"""Label of a sample that has none: what torch's cross-entropy leaves out."""
TINY = 1e-7


@dataclass(frozen=True)
class Task:
    """How outputs are read while a model is trained.

    Attributes:
        columns: outputs that stand for the data's classes; None for all.
        reading: of the outputs, ``logits`` or ``probabilities``.
        numbers: to be predicted, by label; None where labels are classes.
        scale: by which errors of numbers are measured.
    """

    columns: tuple[int, ...] | None
    reading: str = "logits"
    numbers: torch.Tensor | None = None
    scale: float = 1.0

    @classmethod
    def of(cls, split: Split, preprocess: Preprocess) -> Task:
        """The task of a part of the data.

        Raises:
            DataError: it holds numbers without a scale.
        """
        targets = split.targets
        if targets is None:
            return cls(preprocess.class_map, preprocess.reading)
        if targets.scale is None:
            raise DataError("The data hold numbers to predict; say by which scale with the metric regression:SCALE.")
        return cls(None, preprocess.reading, torch.tensor(targets.values, dtype=torch.float32), targets.scale)

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Outputs (n, outputs) with a column for each class at least; one output stands for the second of two."""
        if outputs.shape[1] > 1:
            return outputs
        if self.reading == "logits":
            return torch.cat([torch.zeros_like(outputs), outputs], 1)
        share = outputs.clamp(TINY, 1 - TINY)
        return torch.cat([1 - share, share], 1).log()

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """Cross-entropy, or the smooth absolute error in scales (Huber 1964); unlabelled samples are left out."""
        if self.numbers is not None:
            known = labels != UNLABELLED
            truth = self.numbers.to(outputs.device)[labels[known]]
            return self.error(outputs[known, 0], truth) / known.sum().clamp(min=1)
        logits = self.logits(outputs)
        chosen = logits if self.columns is None else logits[:, list(self.columns)]
        return F.cross_entropy(chosen, labels, label_smoothing=label_smoothing, ignore_index=UNLABELLED)

    def error(self, answers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Sum of the smooth absolute errors of numbers, in scales."""
        return F.smooth_l1_loss(answers / self.scale, truth / self.scale, reduction="sum")
