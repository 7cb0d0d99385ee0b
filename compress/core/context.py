"""Everything that a pass may use besides the model: the data without its test part, the target, and job settings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from certify.core.errors import UsageError
from certify.core.progress import Progress, Silent
from compress.core.callbacks import TrainingCallback
from compress.core.samples import as_tensor
from compress.core.targets import Target

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    from torch import nn

    from certify.data.dataset import Dataset, Split
    from certify.data.preprocess import Preprocess
    from compress.core.pass_protocol import Pass


@dataclass(frozen=True)
class PassData:
    """The parts of a data set that a pass may see; only the certificate sees the test part.

    Attributes:
        name: name of the data set.
        spec: specification that it was loaded from.
        classes: names of the classes.
        train: samples for training, or None.
        calibration: samples for activation ranges, or None.
        validation: samples for model selection, or None.
        input_size: (H, W) of model inputs; (tokens,) for text.
        class_map: class i -> output column of an ImageNet-1000 classifier, or None.
    """

    name: str
    spec: str
    classes: tuple[str, ...]
    train: Split | None
    calibration: Split | None
    validation: Split | None
    input_size: tuple[int, ...]
    class_map: tuple[int, ...] | None

    @classmethod
    def without_test(cls, dataset: Dataset) -> PassData:
        """Return the view of a data set without its test part."""
        return cls(
            name=dataset.name,
            spec=dataset.spec,
            classes=dataset.classes,
            train=dataset.train,
            calibration=dataset.calibration,
            validation=dataset.validation,
            input_size=dataset.input_size,
            class_map=dataset.class_map,
        )

    def part(self, name: Literal["train", "calibration", "validation"], wanted_by: str) -> Split:
        """Return a part that must exist.

        Raises:
            UsageError: the data set has no such part.
        """
        split: Split | None = getattr(self, name)
        if split is None or len(split) == 0:
            raise UsageError(f"{wanted_by} needs {name} samples, but '{self.spec}' has none; remove the pass.")
        return split


@dataclass(frozen=True)
class PassContext:
    """Everything around the model that a pass may use.

    Attributes:
        data: train, calibration and validation samples.
        preprocess: the model's preprocessing contract.
        target: processor that the model is optimised for.
        teacher: the untouched original in eval mode; None if the job started from an ONNX file.
        device: torch device of the training.
        seed: seed of every random choice.
        max_train_time: time limit of each training, in seconds, or None.
        max_loss_percent: the recipe's budget: maximum relative accuracy loss, in percent; None for no limit.
        progress: where the pass reports progress.
        callbacks: called in every epoch of every training.
        workspace: folder for new files (ONNX stage); None if there is none.
        following: later passes of the recipe, in order.
        earlier: the field ``done`` of each earlier pass's record, in order.
        test_digests: digests of the test samples, which a pass with data of its own must refuse.
        training_follows: whether a later pass of the recipe trains the model.
        place: position of the pass in its recipe, from 0, which distinguishes mechanisms.
        source: how to build a fresh model of the original's architecture; None if only its module is known.
        runtime: runtime on which the job will measure its file; None if it measures nothing.
    """

    data: PassData
    preprocess: Preprocess
    target: Target
    teacher: nn.Module | None = None
    device: str = "cpu"
    seed: int = 0
    max_train_time: float | None = None
    max_loss_percent: float | None = None
    progress: Progress = field(default_factory=Silent)
    callbacks: tuple[TrainingCallback, ...] = ()
    workspace: Path | None = None
    following: tuple[Pass, ...] = ()
    earlier: tuple[Mapping[str, Any], ...] = ()
    test_digests: frozenset[str] = frozenset()
    training_follows: bool = False
    place: int = 0
    source: Any = None
    runtime: str | None = None

    def deadline(self) -> float | None:
        """Return the monotonic time at which a training that starts now must stop, or None."""
        return None if self.max_train_time is None else time.monotonic() + self.max_train_time

    def sample(self, count: int = 1) -> torch.Tensor:
        """Return ``count`` preprocessed samples as one tensor; see :meth:`samples`."""
        return as_tensor(self.samples(count))

    def samples(self, count: int = 1) -> npt.NDArray[Any]:
        """Return ``count`` preprocessed samples, in the type and layout of the contract.

        They are calibration samples if there are any, otherwise validation or train samples.

        Raises:
            UsageError: the data set has none of the three parts.
        """
        split = self.data.calibration or self.data.validation or self.data.train
        if split is None or len(split) == 0:
            raise UsageError(f"'{self.data.spec}' has only test samples; add a part on which passes can run the model.")
        indices = [i % len(split) for i in range(count)]
        return self.preprocess.batch(split, indices)
