"""What a pass is: a frozen config that can be applied to a model, and the record of what it did."""

from __future__ import annotations

import abc
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from certify.core.errors import UsageError
from certify.core.progress import Progress, Silent
from compress.targets import Target

if TYPE_CHECKING:
    import torch
    from torch import nn

    from certify.data.dataset import Dataset, Split
    from certify.data.preprocess import Preprocess
    from compress.models import ModelSource

Stage = Literal["torch", "onnx"]


@dataclass(frozen=True)
class PassData:
    """The parts of a data set that a pass may see. There is no test part: only the certificate sees it.

    Attributes:
        name: name of the data set.
        spec: what it was loaded from.
        classes: names of the classes.
        train: samples to learn from, or None.
        calibration: samples whose activations set the ranges, or None.
        validation: samples to choose by, or None.
        input_size: (H, W) that models take; (tokens,) for text.
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
        """The view of a data set that leaves its test part out."""
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
        """One part that must exist.

        Raises:
            UsageError: the data set has no such part.
        """
        split: Split | None = getattr(self, name)
        if split is None or len(split) == 0:
            raise UsageError(f"{wanted_by} needs {name} samples and '{self.spec}' has none; leave the pass out.")
        return split


@dataclass(frozen=True)
class PassContext:
    """Everything around the model that a pass may use.

    Attributes:
        data: train, calibration and validation samples.
        preprocess: the model's preprocessing contract.
        target: processor that the model is made for.
        teacher: the untouched original in eval mode; None where the job began with an ONNX file.
        device: torch device that training runs on.
        seed: of every random choice.
        max_train_time: seconds that one training may last, or None.
        max_loss_percent: the recipe's budget: largest relative loss of accuracy, in percent; None for no limit.
        progress: where the pass says how far it is.
        workspace: folder for new files (ONNX stage); None where there is none.
        test_digests: of the test samples, which a pass that brings data of its own must refuse.
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
    workspace: Path | None = None
    test_digests: frozenset[str] = frozenset()

    def deadline(self) -> float | None:
        """Monotonic time at which a training that starts now must stop, or None."""
        return None if self.max_train_time is None else time.monotonic() + self.max_train_time

    def sample(self, count: int = 1) -> torch.Tensor:
        """``count`` preprocessed samples, of the type and in the layout of the contract.

        Calibration samples where there are any, otherwise validation or train samples.

        Raises:
            UsageError: the data set has none of the three parts.
        """
        import torch

        split = self.data.calibration or self.data.validation or self.data.train
        if split is None or len(split) == 0:
            raise UsageError(f"'{self.data.spec}' has test samples only; a pass needs others to try the model on.")
        indices = [i % len(split) for i in range(count)]
        return torch.from_numpy(self.preprocess.batch(split, indices))


@dataclass(frozen=True)
class Declined:
    """Something that a pass left alone, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class PassRecord:
    """What a pass did to a model.

    Attributes:
        done: what was done, by name; plain JSON values.
        declined: what was left alone. A pass that declines ``the whole model`` returns it unchanged.
    """

    done: Mapping[str, Any] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()

    @classmethod
    def refused(cls, why: str, parts: Iterable[Declined] = ()) -> PassRecord:
        """The record of a pass that could not do anything with the model, and why not with parts of it."""
        return cls({}, (Declined("the whole model", why), *parts))

    @property
    def changed(self) -> bool:
        """False where the whole model was declined."""
        return bool(self.done)

    def to_json(self) -> dict[str, Any]:
        """The two fields of a lineage row."""
        return {"done": dict(self.done), "declined": [{"what": d.what, "why": d.why} for d in self.declined]}


class Pass(BaseModel, abc.ABC):
    """A frozen, versioned config with the one function that applies it.

    The fields of a subclass are its parameters, each with a description and its bounds. The docstring names the
    paper and says when not to use the pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: ClassVar[str]
    """As the table of passes and the recipes name it."""
    version: ClassVar[int]
    """Raised whenever the same config would give another model."""
    stage: ClassVar[Stage]
    """What it works on: an ``nn.Module``, or an ONNX file."""

    @abc.abstractmethod
    def apply(self, model: Any, context: PassContext) -> tuple[Any, PassRecord]:
        """Give a changed copy of the model, which itself is left as it is.

        Args:
            model: an ``nn.Module`` (stage ``torch``) or the path of an ONNX file (stage ``onnx``).
            context: everything else that the pass may use.

        Returns:
            The new model, of the same kind, and what was done and declined.
        """

    def config(self) -> dict[str, Any]:
        """Every parameter, defaults included, as JSON values."""
        return self.model_dump(mode="json")


class TorchPass(Pass):
    """A pass over an ``nn.Module``."""

    stage: ClassVar[Stage] = "torch"
    final: ClassVar[bool] = False
    """Whether no other pass can work on the module that comes back."""

    @abc.abstractmethod
    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`; the module that comes back is in eval mode."""

    def source(self, given: ModelSource | None, context: PassContext) -> ModelSource | None:
        """How a fresh model of the architecture that comes back is built: as the given one, for most passes."""
        return given


class OnnxPass(Pass):
    """A pass over an ONNX file; it writes a new one into the context's workspace."""

    stage: ClassVar[Stage] = "onnx"

    @abc.abstractmethod
    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`."""
